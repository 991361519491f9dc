//! Everything there is in one run, and what happens next.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use chv_domain::{Projection, Record, Timestamp, VmId};

use crate::bug::Bug;
use crate::chance::Chance;
use crate::client::Client;
use crate::host::{Host, HostEvent};
use crate::office::OfficeEvent;
use crate::oracle::{Oracle, Violation};
use crate::packet::{ToBroker, ToReplica, ToUser};
use crate::raft::message::Message;
use crate::raft::{Out, REPLICAS};
use crate::replica::Replica;
use crate::schedule::{MS, Micros, Schedule};
use crate::subscriber::Subscriber;
use crate::weather::Weather;

pub(crate) const CLIENTS: usize = 3;
pub(crate) const HOSTS: usize = 3;
pub(crate) const SUBSCRIBERS: usize = 2;

/// How long there are faults, and how long it is then waited for all to be well.
const FAULTS: Micros = 6000 * MS;
const HEALING: Micros = 14_000 * MS;

/// When nobody begins anything any more.
pub(crate) const QUIET: Micros = FAULTS + 4000 * MS;

/// When a run begins, by clocks that are right.
const START: Timestamp = Timestamp(1_800_000_000_000_000);

/// How many lines of what happened are kept for a seed that fails.
const TRACE: usize = 4000;

#[derive(Debug)]
pub(crate) enum Event {
    Raft {
        from: usize,
        to: usize,
        message: Message,
    },
    /// A replica's election timer.
    Elect {
        replica: usize,
        life: u64,
    },
    /// A leader's heartbeat timer.
    Beat {
        replica: usize,
        life: u64,
    },
    Flushed {
        replica: usize,
        life: u64,
        write: u64,
    },
    /// A replica goes on applying, and looks who leads.
    Look {
        replica: usize,
        life: u64,
    },
    Office {
        replica: usize,
        life: u64,
        event: OfficeEvent,
    },
    AtBroker {
        replica: usize,
        connects: u64,
        message: ToBroker,
    },
    ToReplica(usize, ToReplica),
    ToUser(ToUser),
    Client {
        client: usize,
        operation: u64,
    },
    Host {
        host: usize,
        life: u64,
        event: HostEvent,
    },
    Subscriber {
        subscriber: usize,
        asked: u64,
    },
    /// A host's guard looks.
    Guard {
        host: usize,
        boot: u64,
    },
    Kill {
        host: usize,
        boot: u64,
        vm: VmId,
        pid: u32,
    },
    /// A host's machine boots; the broker is reached by it again.
    Boot(usize),
    Reach(usize),
    /// What asks for failover must have left a host that is lost.
    LeftBy,
    Restart(usize),
    Connect(usize),
    Mend(usize),
    Fault,
    Heal,
}

impl Event {
    /// The replica that does something, and in which of its lives.
    const fn replica(&self) -> Option<(usize, Option<u64>)> {
        match self {
            Self::Raft { to, .. } => Some((*to, None)),
            Self::ToReplica(to, _) => Some((*to, None)),
            Self::Elect { replica, life }
            | Self::Beat { replica, life }
            | Self::Flushed { replica, life, .. }
            | Self::Look { replica, life }
            | Self::Office { replica, life, .. } => Some((*replica, Some(*life))),
            _ => None,
        }
    }
}

pub(crate) struct World {
    pub(crate) bug: Option<Bug>,
    pub(crate) chance: Chance,
    pub(crate) weather: Weather,
    pub(crate) schedule: Schedule<Event>,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) clients: Vec<Client>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) subscribers: Vec<Subscriber>,
    /// Pairs of replicas that don't hear each other.
    pub(crate) cut: BTreeSet<(usize, usize)>,
    pub(crate) healed: bool,
    /// A host that is lost for good.
    pub(crate) lost: Option<usize>,
    pub(crate) oracle: Oracle,
    trace: VecDeque<String>,
    traced: bool,
    pub(crate) faults: u64,
}

impl World {
    pub(crate) fn new(seed: u64, bug: Option<Bug>, traced: bool) -> Self {
        let mut chance = Chance::new(seed);
        let weather = Weather::draw(&mut chance);
        let mut world = Self {
            bug,
            chance,
            weather,
            schedule: Schedule::new(),
            replicas: (0..REPLICAS).map(|me| Replica::new(me, bug)).collect(),
            clients: (0..CLIENTS).map(Client::new).collect(),
            hosts: (0..HOSTS).map(Host::new).collect(),
            subscribers: (0..SUBSCRIBERS).map(Subscriber::new).collect(),
            cut: BTreeSet::new(),
            healed: false,
            lost: None,
            oracle: Oracle::default(),
            trace: VecDeque::new(),
            traced,
            faults: 0,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for replica in 0..REPLICAS {
            self.alive(replica);
        }
        for client in 0..CLIENTS {
            let after = self.chance.pick(0..200 * MS);
            self.schedule.after(after, Event::Client { client, operation: 0 });
        }
        for host in 0..HOSTS {
            self.boot(host);
        }
        for subscriber in 0..SUBSCRIBERS {
            self.schedule
                .after(MS, Event::Subscriber { subscriber, asked: 0 });
        }
        self.schedule.after(self.weather.fault_every, Event::Fault);
        self.schedule.after(FAULTS, Event::Heal);
    }

    /// Runs to the end, or to the first thing that must not be.
    pub(crate) fn run(&mut self) -> Result<(), Violation> {
        while let Some(event) = self.schedule.next() {
            if self.schedule.now > FAULTS + HEALING {
                return self.judge();
            }
            if let Some((replica, life)) = event.replica() {
                let there = &self.replicas[replica];
                if !there.up || life.is_some_and(|life| life != there.life) {
                    continue;
                }
                if there.paused_until > self.schedule.now {
                    let after = there.paused_until - self.schedule.now;
                    self.schedule.after(after, event);
                    continue;
                }
            }
            self.happens(event);
            self.oracle.verdict()?;
        }
        self.judge()
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Raft { from, to, message } => {
                let mut out = Vec::new();
                self.replicas[to].raft.hear(from, message, &mut out);
                self.carry_out(to, out);
            }
            Event::Elect { replica, .. } => self.election_timer(replica),
            Event::Beat { replica, .. } => self.heartbeat_timer(replica),
            Event::Flushed { replica, write, .. } => {
                let mut out = Vec::new();
                self.replicas[replica].raft.flushed(write, &mut out);
                self.carry_out(replica, out);
            }
            Event::Look { replica, .. } => self.look(replica),
            Event::Office { replica, event, .. } => self.at_office(replica, event),
            Event::AtBroker {
                replica,
                connects,
                message,
            } => self.at_broker(replica, connects, message),
            Event::ToReplica(replica, message) => self.replica_hears(replica, message),
            Event::ToUser(message) => self.user_hears(message),
            Event::Client { client, operation } => self.client_acts(client, operation),
            Event::Host { host, life, event } => self.host_acts(host, life, event),
            Event::Subscriber { subscriber, asked } => self.subscriber_acts(subscriber, asked),
            Event::Guard { host, boot } => self.guard(host, boot),
            Event::Kill { host, boot, vm, pid } => self.killed(host, boot, vm, pid),
            Event::Boot(host) => self.boots_again(host),
            Event::Reach(host) => self.hosts[host].machine.cut_off = false,
            Event::LeftBy => self.judge_lost(),
            Event::Restart(replica) => self.restart(replica),
            Event::Connect(replica) => self.connect(replica),
            Event::Mend(replica) => self.mend(replica),
            Event::Fault => self.fault(),
            Event::Heal => self.heal(),
        }
    }

    /// Does what a replica's Raft wants.
    pub(crate) fn carry_out(&mut self, replica: usize, out: Vec<Out>) {
        let mut changed = false;
        for out in out {
            match out {
                Out::Send { to, message } => self.send_raft(replica, to, message),
                Out::Flush(write) => {
                    let after = self.weather.flush(&mut self.chance);
                    let life = self.replicas[replica].life;
                    self.schedule
                        .after(after, Event::Flushed { replica, life, write });
                }
                Out::Changed => changed = true,
                Out::Restore(snapshot) => self.replicas[replica].restore(&snapshot),
            }
        }
        if changed {
            self.changed(replica);
        }
    }

    fn send_raft(&mut self, from: usize, to: usize, message: Message) {
        if self.cut.contains(&(from, to)) || self.chance.is(self.weather.lost) {
            return;
        }
        let copies = 1 + usize::from(self.chance.is(self.weather.doubled));
        for _ in 0..copies {
            let after = self.weather.delay(&mut self.chance);
            let message = message.clone();
            self.schedule.after(after, Event::Raft { from, to, message });
        }
    }

    /// The time by a clock that is off by `offset` microseconds.
    pub(crate) fn clock(&self, offset: i64) -> Timestamp {
        Timestamp((START.0 + self.schedule.now).saturating_add_signed(offset))
    }

    /// Notes what happened, for a seed that fails.
    pub(crate) fn note(&mut self, what: impl FnOnce() -> String) {
        if !self.traced {
            return;
        }
        if self.trace.len() == TRACE {
            self.trace.pop_front();
        }
        let line = format!("{:>10} {}", self.schedule.now, what());
        self.trace.push_back(line);
    }

    /// What happened last, oldest first.
    pub(crate) fn trace(self) -> Vec<String> {
        self.trace.into()
    }
}

/// What a state and its records look like to all who read it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Applied {
    pub(crate) state: Projection,
    pub(crate) records: Vec<Rc<Record>>,
}
