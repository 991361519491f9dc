//! One who sends commands and reads, one after the other, and again with the same id until there is an answer.

use std::collections::BTreeMap;
use std::rc::Rc;

use chv_domain::spec::OnHostLoss;
use chv_domain::{Command, CommandId, ProjectName, Seq, Submission, VmRef, VmSpec};
use ulid::Ulid;

use crate::packet::{Answer, Seen, Sender, ToReplica};
use crate::schedule::{MS, Micros};
use crate::world::{Event, HOSTS, QUIET, World};

/// How many VM names there are: few enough that commands meet.
const NAMES: u64 = 6;

/// How long a client goes on with one operation.
const PATIENCE: Micros = 4000 * MS;

pub(crate) struct Client {
    number: usize,
    operations: u64,
    now: Option<Operation>,
    /// The last state that it was shown.
    seen: Seq,
}

struct Operation {
    number: u64,
    what: What,
    /// Everything up to here was acknowledged to somebody when this began.
    floor: Seq,
    until: Micros,
}

#[derive(Clone)]
enum What {
    Command(Rc<Submission>),
    /// Of the leader.
    Query,
    /// Of any replica that has what this client has seen.
    Read,
}

impl Client {
    pub(crate) fn new(number: usize) -> Self {
        Self {
            number,
            operations: 0,
            now: None,
            seen: Seq::ZERO,
        }
    }
}

impl World {
    /// A client begins an operation, or goes on with the one whose turn it is.
    pub(crate) fn client_acts(&mut self, client: usize, operation: u64) {
        let time = self.schedule.now;
        let again = match &self.clients[client].now {
            Some(now) if now.number != operation => return,
            Some(now) if time >= now.until => {
                self.clients[client].now = None;
                None
            }
            Some(now) => Some(now.what.clone()),
            None if operation < self.clients[client].operations => return,
            None => None,
        };
        let what = match again {
            Some(what) => what,
            None if time > QUIET => return,
            None => self.begins(client),
        };
        let operation = self.clients[client].operations;
        match what {
            What::Command(submission) => self.tell_replicas(&ToReplica::Command {
                from: Sender::Client(client),
                submission,
            }),
            What::Query => self.tell_replicas(&ToReplica::Query {
                client,
                asked: operation,
                least: None,
            }),
            What::Read => {
                let least = Some(self.clients[client].seen);
                self.tell_any(ToReplica::Query {
                    client,
                    asked: operation,
                    least,
                });
            }
        }
        let after = self.chance.pick(150 * MS..700 * MS);
        self.schedule.after(after, Event::Client { client, operation });
    }

    fn begins(&mut self, client: usize) -> What {
        let what = match self.chance.pick(0..10) {
            0 | 1 => What::Query,
            2 => What::Read,
            _ => What::Command(Rc::new(self.command(client))),
        };
        let (floor, until) = (self.oracle.acknowledged(), self.schedule.now + PATIENCE);
        let there = &mut self.clients[client];
        there.operations += 1;
        let number = there.operations;
        there.now = Some(Operation {
            number,
            what: what.clone(),
            floor,
            until,
        });
        if let What::Command(submission) = &what {
            self.oracle.sent(submission, floor);
            self.note(|| {
                format!(
                    "client {client} sends {} {}",
                    submission.id,
                    submission.command.verb()
                )
            });
        }
        what
    }

    fn command(&mut self, client: usize) -> Submission {
        let name = format!("vm{}", self.chance.pick(0..NAMES));
        let vm = VmRef::Name(ProjectName::default(), name.parse().expect("it is a name"));
        let command = match self.chance.pick(0..12) {
            0..5 => Command::CreateVm {
                project: ProjectName::default(),
                name: self.new_name(name).parse().expect("it is a name"),
                labels: BTreeMap::new(),
                annotations: BTreeMap::new(),
                protected: false,
                spec: self.spec().into(),
                start: true,
            },
            5 => Command::StartVm { vm },
            6 => Command::StopVm { vm, timeout: None },
            7 => Command::KillVm { vm },
            8..11 => Command::DeleteVm {
                vm,
                force: true,
                keep: None,
            },
            _ => {
                let host = format!("h{}", self.chance.index(HOSTS));
                let host = host.parse().expect("it is a name");
                match self.chance.is(400) {
                    true => Command::CordonHost { host },
                    false => Command::UncordonHost { host },
                }
            }
        };
        let actor = format!("user{}", self.clients[client].number);
        self.submission(&actor, command)
    }

    /// Some VMs are left alone once they are there, long enough to lose their host.
    fn new_name(&mut self, name: String) -> String {
        match self.chance.is(300) {
            true => format!("left-alone{}", self.chance.pick(0..NAMES)),
            false => name,
        }
    }

    fn spec(&mut self) -> VmSpec {
        let on_host_loss = match self.chance.is(600) {
            true => OnHostLoss::Failover,
            false => OnHostLoss::Stay,
        };
        VmSpec {
            on_host_loss,
            ..self.oracle.spec.clone()
        }
    }

    pub(crate) fn submission(&mut self, actor: &str, command: Command) -> Submission {
        let made = self.clock(0).as_millis();
        self.oracle.ids += 1;
        Submission::new(
            CommandId::from_ulid(Ulid::from_parts(made, u128::from(self.oracle.ids))),
            actor.parse().expect("it is an actor"),
            command,
        )
    }

    pub(crate) fn client_answered(&mut self, client: usize, answer: &Answer) {
        // Every answer is looked at, also a second one.
        self.oracle.answered(answer);
        let Some(now) = &self.clients[client].now else {
            return;
        };
        let What::Command(submission) = &now.what else {
            return;
        };
        if submission.id != answer.submission.id {
            return;
        }
        if answer.result.as_ref().is_err_and(|refused| refused.retryable) {
            return;
        }
        self.note(|| format!("client {client} has its answer to {}", answer.submission.id));
        if let Ok(accepted) = &answer.result {
            let there = &mut self.clients[client];
            there.seen = there.seen.max(Seq(accepted.last_seq));
            self.acknowledged();
        }
        // Some send it again all the same.
        if self.chance.is(150) {
            let submission = Rc::clone(&answer.submission);
            let from = Sender::Client(client);
            self.tell_replicas(&ToReplica::Command { from, submission });
        }
        self.ended(client);
    }

    pub(crate) fn client_read(&mut self, client: usize, asked: u64, seen: Option<&Seen>) {
        let there = &self.clients[client];
        let Some(now) = there.now.as_ref().filter(|now| now.number == asked) else {
            return;
        };
        let Some(seen) = seen else { return };
        match now.what {
            What::Query => self.oracle.read(now.floor, seen),
            What::Read => self.oracle.read(there.seen, seen),
            What::Command(_) => return,
        }
        let there = &mut self.clients[client];
        there.seen = there.seen.max(seen.seq);
        self.ended(client);
    }

    fn ended(&mut self, client: usize) {
        self.clients[client].now = None;
        let operation = self.clients[client].operations;
        let after = self.chance.pick(MS..self.weather.think);
        self.schedule.after(after, Event::Client { client, operation });
    }
}
