//! A host's daemon: follows its feed with the daemon's own code, and reports what became of its guests.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use chv_domain::{
    Capacity, Command, DesiredVm, HostFacts, HostId, HostSlice, HypervisorFacts, HypervisorKind,
    LeaseDuration, Power, Seq, Submission, VmId,
};
use chv_hostd::converge::Wish;
use chv_hostd::follow::feed::Feed;
use chv_hostd::lease::HeldLease;
use chv_proto::{convert, v1};

use crate::machine::Machine;
use crate::packet::{Answer, Beat, Sender, ToReplica, ToUser};
use crate::schedule::MS;
use crate::world::{Event, World};

/// Between two heartbeats.
const BEAT: u64 = 1000 * MS;

/// How long a slice is waited for.
const SLICE: u64 = 500 * MS;

#[derive(Debug, Clone, Copy)]
pub(crate) enum HostEvent {
    Beat,
    /// Makes one VM what it should be.
    Converge(VmId),
    /// Sends a report again that was not answered.
    Again(u64),
    /// A slice was waited for long enough, or a pause is over.
    Ask(u64),
}

pub(crate) struct Host {
    pub(crate) id: HostId,
    pub(crate) name: String,
    life: u64,
    feed: Feed,
    /// How far was followed; on the disk.
    reached: Seq,
    registered: bool,
    /// What is to be run, as the wishes say.
    pub(crate) wanted: BTreeMap<VmId, Arc<DesiredVm>>,
    pub(crate) machine: Machine,
    pub(crate) lease: HeldLease,
    reports: BTreeMap<u64, Rc<Submission>>,
    sent: u64,
    asked: Option<u64>,
    asks: u64,
}

impl Host {
    pub(crate) fn new(number: usize) -> Self {
        let id = HostId::from_bytes([u8::try_from(number).unwrap_or(u8::MAX) + 1; 16]);
        Self {
            id,
            name: format!("h{number}"),
            life: 0,
            feed: Feed::new(id, Seq::ZERO),
            reached: Seq::ZERO,
            registered: false,
            wanted: BTreeMap::new(),
            machine: Machine::new(),
            lease: HeldLease::default(),
            reports: BTreeMap::new(),
            sent: 0,
            asked: None,
            asks: 0,
        }
    }

    fn facts() -> HostFacts {
        HostFacts {
            capacity: Capacity {
                vcpus: 4,
                memory_mib: 4000,
            },
            hypervisors: vec![HypervisorFacts {
                kind: HypervisorKind::QemuTcg,
                version: String::new(),
            }],
            daemon: String::new(),
            missing: Vec::new(),
        }
    }

    /// Its daemon ends; the next one begins with what is on the disk.
    pub(crate) fn ends(&mut self) {
        self.life += 1;
        self.feed = Feed::new(self.id, self.reached);
        self.registered = false;
        self.wanted.clear();
        self.reports.clear();
        self.asked = None;
    }

    /// How far it has followed its feed.
    pub(crate) fn position(&self) -> Seq {
        self.feed.position()
    }

    /// Where what runs is not what should.
    pub(crate) fn runs_otherwise(&self, slice: &HostSlice) -> Option<String> {
        let should = slice
            .vms
            .iter()
            .filter(|vm| vm.power == Power::Running)
            .map(|vm| vm.vm);
        let (should, runs): (Vec<_>, Vec<_>) =
            (should.collect(), self.machine.guests.keys().copied().collect());
        (should != runs).then(|| format!("should run {should:?}, and runs {runs:?}"))
    }

    /// Where what it believes to be wanted is not `slice`.
    pub(crate) fn differs(&self, slice: &HostSlice) -> Option<String> {
        let wanted: Vec<_> = self.wanted.values().map(|vm| (**vm).clone()).collect();
        (wanted != slice.vms).then(|| {
            let (position, feed) = (self.feed.position(), slice.feed);
            let ids = |vms: &[DesiredVm]| vms.iter().map(|vm| vm.vm.to_string()).collect::<Vec<_>>();
            let (has, should) = (ids(&wanted), ids(&slice.vms));
            format!("has followed to {position} of {feed}, and wants {has:?} instead of {should:?}")
        })
    }
}

impl World {
    pub(crate) fn host_numbered(&self, id: HostId) -> usize {
        self.hosts
            .iter()
            .position(|host| host.id == id)
            .expect("only these hosts register")
    }

    /// A host's daemon begins; its guests run on meanwhile.
    pub(crate) fn host_starts(&mut self, host: usize) {
        self.hosts[host].ends();
        self.takes_stock(host);
        let after = self.chance.pick(0..100 * MS);
        self.host_after(host, after, HostEvent::Beat);
    }

    pub(crate) fn host_after(&mut self, host: usize, after: u64, event: HostEvent) {
        let life = self.hosts[host].life;
        self.schedule.after(after, Event::Host { host, life, event });
    }

    pub(crate) fn host_acts(&mut self, host: usize, life: u64, event: HostEvent) {
        if self.hosts[host].life != life {
            return;
        }
        let from = self.hosts[host].machine.daemon_from;
        if from > self.schedule.now {
            let after = from - self.schedule.now;
            return self.schedule.after(after, Event::Host { host, life, event });
        }
        match event {
            HostEvent::Beat => {
                let sent = self.since_boot(host);
                self.host_tells(host, &ToReplica::Heartbeat(Beat { host, life, sent }));
                self.host_after(host, BEAT, HostEvent::Beat);
            }
            HostEvent::Converge(vm) => self.converge(host, vm),
            HostEvent::Again(number) => self.send_report(host, number),
            HostEvent::Ask(asked) => {
                if self.hosts[host].asked == Some(asked) {
                    self.hosts[host].asked = None;
                }
                self.ask_slice(host);
            }
        }
    }

    /// A host's message to every replica.
    fn host_tells(&mut self, host: usize, message: &ToReplica) {
        if self.is_reached(host) {
            self.tell_replicas(message);
        }
    }

    fn heartbeat_reply(&mut self, beat: Beat, registered: bool, feed: Seq, lease: Option<LeaseDuration>) {
        let host = beat.host;
        if self.hosts[host].life != beat.life {
            return;
        }
        if let Some(lease) = lease {
            self.granted(host, beat, lease, feed);
        }
        let there = &mut self.hosts[host];
        if !registered || !there.registered {
            there.registered = registered;
            if there.reports.is_empty() || !registered {
                let command = Command::RegisterHost {
                    host: there.id,
                    facts: Host::facts(),
                };
                self.report(host, command);
            }
        }
        if registered {
            self.hosts[host].registered = true;
            self.hosts[host].feed.leader_is_at(feed);
            self.ask_slice(host);
        }
    }

    fn ask_slice(&mut self, host: usize) {
        let there = &mut self.hosts[host];
        let Some(least) = there.feed.missing().filter(|_| there.asked.is_none()) else {
            return;
        };
        there.asks += 1;
        let asked = there.asks;
        there.asked = Some(asked);
        self.host_after(host, SLICE, HostEvent::Ask(asked));
        if self.is_reached(host) {
            self.tell_any(ToReplica::AskSlice { host, asked, least });
        }
    }

    pub(crate) fn user_hears(&mut self, message: ToUser) {
        if let Some(host) = message.to_host() {
            if !self.is_reached(host) {
                return;
            }
            let from = self.hosts[host].machine.daemon_from;
            if from > self.schedule.now {
                let after = from - self.schedule.now;
                return self.schedule.after(after, Event::ToUser(message));
            }
        }
        match message {
            ToUser::Answer(Sender::Client(client), answer) => self.client_answered(client, &answer),
            ToUser::Answer(Sender::Host(host), answer) => self.report_answered(host, &answer),
            ToUser::Answer(Sender::Leader, _) => {}
            ToUser::Read { client, asked, seen } => self.client_read(client, asked, seen.as_ref()),
            ToUser::HeartbeatReply {
                registered,
                feed,
                beat,
                lease,
                ..
            } => self.heartbeat_reply(beat, registered, feed, lease),
            ToUser::Feed { host, delta } => self.feed_heard(host, &delta),
            ToUser::Slice { host, asked, slice } => self.slice_heard(host, asked, slice.as_deref()),
            ToUser::Event { subscriber, message } => self.event_heard(subscriber, (*message).clone()),
            ToUser::Tick { subscriber, seq } => self.tick_heard(subscriber, seq),
            ToUser::Page {
                subscriber,
                asked,
                page,
            } => self.page_heard(subscriber, asked, page.as_deref()),
        }
    }

    fn feed_heard(&mut self, host: usize, delta: &v1::FeedDelta) {
        match convert::delta_from_wire(delta.clone()) {
            Ok(delta) => {
                let wishes = self.hosts[host].feed.delta(delta);
                self.wished(host, wishes);
            }
            Err(error) => self
                .oracle
                .wrong(format!("host {host} can't read its feed: {error}")),
        }
        self.ask_slice(host);
    }

    fn slice_heard(&mut self, host: usize, asked: u64, slice: Option<&HostSlice>) {
        if self.hosts[host].asked != Some(asked) {
            return;
        }
        self.hosts[host].asked = None;
        let wish = slice.and_then(|slice| self.hosts[host].feed.slice(slice.clone()));
        match wish {
            Some(wish) => {
                self.wished(host, vec![wish]);
                self.ask_slice(host);
            }
            None => self.host_after(host, 100 * MS, HostEvent::Ask(0)),
        }
    }

    fn wished(&mut self, host: usize, wishes: Vec<Wish>) {
        for wish in wishes {
            let mut changed = Vec::new();
            let there = &mut self.hosts[host];
            match wish {
                Wish::Vm(vm) => {
                    changed.push(vm.vm);
                    there.wanted.insert(vm.vm, vm);
                }
                Wish::NotOurs(vm, asof) => {
                    if there.wanted.get(&vm).is_some_and(|known| known.epoch.0 <= asof) {
                        there.wanted.remove(&vm);
                        changed.push(vm);
                    }
                }
                Wish::All(vms, _) => {
                    there.wanted = vms.into_iter().map(|vm| (vm.vm, vm)).collect();
                    changed.extend(there.wanted.keys().chain(there.machine.guests.keys()));
                }
            }
            for vm in changed {
                let after = self.chance.pick(MS..150 * MS);
                self.host_after(host, after, HostEvent::Converge(vm));
            }
        }
        let there = &mut self.hosts[host];
        there.reached = there.reached.max(there.feed.position());
    }

    pub(crate) fn report(&mut self, host: usize, command: Command) {
        let actor = format!("host/{}", self.hosts[host].name);
        let submission = self.submission(&actor, command);
        let floor = self.oracle.acknowledged();
        self.oracle.sent(&submission, floor);
        let there = &mut self.hosts[host];
        there.sent += 1;
        let number = there.sent;
        there.reports.insert(number, Rc::new(submission));
        self.send_report(host, number);
    }

    fn send_report(&mut self, host: usize, number: u64) {
        let Some(submission) = self.hosts[host].reports.get(&number).cloned() else {
            return;
        };
        let from = Sender::Host(host);
        self.host_tells(host, &ToReplica::Command { from, submission });
        let after = self.chance.pick(200 * MS..800 * MS);
        self.host_after(host, after, HostEvent::Again(number));
    }

    fn report_answered(&mut self, host: usize, answer: &Answer) {
        self.oracle.answered(answer);
        if answer.result.as_ref().is_err_and(|refused| refused.retryable) {
            return;
        }
        let there = &mut self.hosts[host];
        there
            .reports
            .retain(|_, report| report.id != answer.submission.id);
    }
}
