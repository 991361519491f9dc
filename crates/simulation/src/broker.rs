//! The broker: takes what is handed to it in order for as long as a connection lasts, and passes it on to whoever
//! listens: perhaps late, perhaps twice, perhaps never.

use std::rc::Rc;

use chv_domain::{HostSlice, Seq};
use chv_proto::convert;

use crate::packet::{EventPage, Seen, ToBroker, ToReplica, ToUser};
use crate::raft::REPLICAS;
use crate::replica::{Then, Until, Wait};
use crate::schedule::MS;
use crate::world::{Event, SUBSCRIBERS, World};

/// How long a query waits for the event that it asks to see, as the scheduler has it.
pub(crate) const PATIENCE: u64 = 2000 * MS;

impl World {
    /// A replica hands a message to the broker. While the connection is away it is lost.
    pub(crate) fn tell_broker(&mut self, replica: usize, message: ToBroker) {
        let after = self.weather.delay(&mut self.chance);
        let now = self.schedule.now;
        let there = &mut self.replicas[replica];
        if !there.link.up {
            return;
        }
        there.sent_until = there.sent_until.max(now + after);
        let (after, connects) = (there.sent_until - now, there.link.connects);
        self.schedule.after(
            after,
            Event::AtBroker {
                replica,
                connects,
                message,
            },
        );
    }

    pub(crate) fn at_broker(&mut self, replica: usize, connects: u64, message: ToBroker) {
        let link = self.replicas[replica].link;
        if !link.up || link.connects != connects {
            return;
        }
        match message {
            ToBroker::Event(message) => {
                self.oracle.broker_has(&message);
                for subscriber in 0..SUBSCRIBERS {
                    let message = Rc::clone(&message);
                    self.user(ToUser::Event { subscriber, message });
                }
            }
            ToBroker::Feed { host, delta } => self.user(ToUser::Feed { host, delta }),
            ToBroker::Tick(seq) => {
                for subscriber in 0..SUBSCRIBERS {
                    self.user(ToUser::Tick { subscriber, seq });
                }
            }
            ToBroker::Mark { office, mark } => self.replica(replica, ToReplica::Mark { office, mark }),
        }
    }

    /// How many copies of a message arrive.
    fn copies(&mut self) -> usize {
        match self.chance.is(self.weather.lost) {
            true => 0,
            false => 1 + usize::from(self.chance.is(self.weather.doubled)),
        }
    }

    fn user(&mut self, message: ToUser) {
        for _ in 0..self.copies() {
            let after = self.weather.delay(&mut self.chance);
            self.schedule.after(after, Event::ToUser(message.clone()));
        }
    }

    fn replica(&mut self, replica: usize, message: ToReplica) {
        for _ in 0..self.copies() {
            let after = self.weather.delay(&mut self.chance);
            self.schedule
                .after(after, Event::ToReplica(replica, message.clone()));
        }
    }

    /// A user's message to every replica.
    pub(crate) fn tell_replicas(&mut self, message: &ToReplica) {
        for replica in 0..REPLICAS {
            self.replica(replica, message.clone());
        }
    }

    /// A user's message to any one replica.
    pub(crate) fn tell_any(&mut self, message: ToReplica) {
        let replica = self.chance.index(REPLICAS);
        self.replica(replica, message);
    }

    /// A replica's answer to a user.
    pub(crate) fn tell_user(&mut self, replica: usize, message: ToUser) {
        if self.replicas[replica].link.up {
            self.user(message);
        }
    }

    pub(crate) fn replica_hears(&mut self, replica: usize, message: ToReplica) {
        if !self.replicas[replica].link.up {
            return;
        }
        let deadline = self.schedule.now + PATIENCE;
        let wait = |until, then| Wait {
            until,
            then,
            deadline,
        };
        match message {
            ToReplica::Command { from, submission } => self.intake(replica, from, submission),
            ToReplica::Heartbeat(beat) => self.heartbeat(replica, beat),
            ToReplica::Mark { office, mark } => self.mark_back(replica, office, mark),
            ToReplica::AskSlice { host, asked, least } => {
                self.wait(replica, wait(Until::Seq(least), Then::Slice { host, asked }));
            }
            ToReplica::Query {
                client,
                asked,
                least: Some(least),
            } => {
                self.wait(replica, wait(Until::Seq(least), Then::Query { client, asked }));
            }
            ToReplica::Query {
                client,
                asked,
                least: None,
            } => self.ask_leader(replica, client, asked),
            ToReplica::AskPage {
                subscriber,
                asked,
                from,
                least,
            } => {
                let then = Then::Page {
                    subscriber,
                    asked,
                    from,
                };
                self.wait(replica, wait(Until::Seq(least), then));
            }
        }
    }

    fn ask_leader(&mut self, replica: usize, client: usize, asked: u64) {
        let deadline = self.schedule.now + PATIENCE;
        if self.office(replica).is_none_or(|office| office.closing) {
            return;
        }
        let mut out = Vec::new();
        let confirming = self.replicas[replica].raft.confirm(&mut out);
        match confirming {
            Some((round, index)) => {
                let (until, then) = (Until::Confirmed { round, index }, Then::Query { client, asked });
                self.wait(
                    replica,
                    Wait {
                        until,
                        then,
                        deadline,
                    },
                );
            }
            None => self.tell_user(
                replica,
                ToUser::Read {
                    client,
                    asked,
                    seen: None,
                },
            ),
        }
        self.carry_out(replica, out);
    }

    pub(crate) fn wait(&mut self, replica: usize, wait: Wait) {
        self.replicas[replica].waits.push(wait);
        self.settle_waits(replica);
        self.look_after(replica, PATIENCE);
    }

    /// Ends every wait that has what it waited for, or has waited too long.
    pub(crate) fn settle_waits(&mut self, replica: usize) {
        let now = self.schedule.now;
        loop {
            let there = &self.replicas[replica];
            let ended = |wait: &Wait| match wait.until {
                Until::Seq(least) if there.applied.state.seq() >= least => Some(Ok(())),
                Until::Confirmed { .. } if there.raft.leads().is_none() => Some(Err("not_leader")),
                Until::Confirmed { round, index }
                    if there.raft.is_confirmed(round) && there.last_applied.index >= index =>
                {
                    Some(Ok(()))
                }
                Until::Entry(_) if now >= wait.deadline => Some(Err("unavailable")),
                _ if now >= wait.deadline => Some(Err("not_leader")),
                _ => None,
            };
            let found = there
                .waits
                .iter()
                .enumerate()
                .find_map(|(at, wait)| Some((at, ended(wait)?)));
            let Some((at, result)) = found else { return };
            let wait = self.replicas[replica].waits.remove(at);
            self.wait_ends(replica, wait.then, result);
        }
    }

    fn wait_ends(&mut self, replica: usize, then: Then, result: Result<(), &'static str>) {
        let applied = &self.replicas[replica].applied;
        let answer = match then {
            Then::Batch { office, batch } => return self.batch_ends(replica, office, batch, result),
            Then::Heartbeat(beat) => {
                if result.is_ok() {
                    self.grant(replica, beat);
                }
                return;
            }
            Then::Query { client, asked } => ToUser::Read {
                client,
                asked,
                seen: result.is_ok().then(|| Seen::of(&applied.state)),
            },
            Then::Slice { host, asked } => {
                let id = self.hosts[host].id;
                let slice = HostSlice::of(&applied.state, id).filter(|_| result.is_ok());
                ToUser::Slice {
                    host,
                    asked,
                    slice: slice.map(Rc::new),
                }
            }
            Then::Page {
                subscriber,
                asked,
                from,
            } => {
                let page = result.is_ok().then(|| self.page(replica, from));
                ToUser::Page {
                    subscriber,
                    asked,
                    page: page.map(Rc::new),
                }
            }
        };
        self.tell_user(replica, answer);
    }

    /// A page of events from a replica's log; it ends within a record at times.
    fn page(&mut self, replica: usize, from: Seq) -> EventPage {
        let most = 1 + self.chance.index(12);
        let applied = &self.replicas[replica].applied;
        let at = applied.records.partition_point(|record| record.last() < from);
        let mut events = Vec::new();
        let mut next = from.max(Seq(1));
        'page: for record in applied.records.iter().skip(at) {
            for (index, (seq, _)) in record.numbered().enumerate() {
                if seq < from {
                    continue;
                }
                if events.len() == most {
                    break 'page;
                }
                events.push(convert::event_to_wire(record, index, &applied.state));
                next = seq.next();
            }
        }
        EventPage {
            events,
            next,
            more: next <= applied.state.seq(),
            applied: applied.state.seq(),
        }
    }

    /// A replica's connection to the broker is lost; it comes back later.
    pub(crate) fn disconnect(&mut self, replica: usize) {
        self.replicas[replica].link.up = false;
    }

    pub(crate) fn connect(&mut self, replica: usize) {
        let there = &mut self.replicas[replica];
        if there.up && !there.link.up {
            there.link.up = true;
            there.link.connects += 1;
            self.connected(replica);
        }
    }

    /// A replica begins to listen.
    pub(crate) fn connected(&mut self, replica: usize) {
        let (instant, there) = (self.instant(), &self.replicas[replica]);
        there.liveness.connected(there.link.connects, instant);
    }
}
