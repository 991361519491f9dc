//! One replica that leads and one host, played by this test over the real rules: commands are decided and
//! folded by the domain, and the host does to a VM what the test says. Nothing is stored or replicated.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chv_domain::*;
use chv_proto::client::{Client, ConnectOptions};
use chv_proto::subject::{self, Audience};
use chv_proto::v1;
use chv_proto::{client, convert};
use prost::Message;
use tokio::task::JoinHandle;

use crate::nats::Nats;

/// What the host does with a VM that should run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guests {
    /// Starts it, and its guest gets ready.
    Boot,
    /// Starts it; its guest never says that it is ready.
    Hang,
    /// Can't, and says why.
    Block,
    /// Can't, and says why; then can.
    BlockThenBoot,
    /// Nothing.
    Ignore,
}

pub(crate) const REASON: &str = "the kernel uos/vmlinuz is not there; put it into the image directory";

/// What the console's log holds once the guest runs.
pub(crate) const CONSOLE: &[u8] = b"uOS boots\r\nuOS is ready\r\n";

mod command;
mod console;
mod query;

use command::{answer_batches, answer_commands};
use console::answer_consoles;
use query::answer_queries;

struct State {
    projection: Projection,
    records: Vec<Record>,
    guests: Guests,
    typed: Vec<u8>,
    reads: u64,
    /// How many commands came in each message that had several.
    batches: Vec<usize>,
    /// Queries stay without an answer.
    mute: bool,
}

/// Ends when dropped.
pub(crate) struct Fake {
    state: Arc<Mutex<State>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn host() -> HostId {
    HostId::from_bytes([1; 16])
}

fn h1() -> HostName {
    "h1".parse().unwrap()
}

async fn connect(nats: &Nats, user: &str) -> async_nats::Client {
    let options = ConnectOptions {
        url: nats.url.clone(),
        user: user.to_owned(),
        password: nats.password(user),
        name: "fake".to_owned(),
        connect_timeout: Duration::from_secs(10),
    };
    Client::connect(options).await.unwrap().nats().clone()
}

impl Fake {
    pub(crate) async fn start(nats: &Nats, guests: Guests) -> Self {
        let scheduler = connect(nats, "scheduler").await;
        let daemon = connect(nats, "host-h1").await;
        let state = Arc::new(Mutex::new(State {
            projection: Projection::default(),
            records: Vec::new(),
            guests,
            typed: Vec::new(),
            reads: 0,
            batches: Vec::new(),
            mute: false,
        }));
        let register = Command::RegisterHost {
            host: host(),
            facts: HostFacts {
                capacity: Capacity {
                    vcpus: 8,
                    memory_mib: 8192,
                },
                hypervisors: vec![HypervisorFacts {
                    kind: HypervisorKind::QemuTcg,
                    version: "7.2".to_owned(),
                }],
                daemon: "0.1.0".to_owned(),
                missing: Vec::new(),
            },
        };
        state.lock().unwrap().report(register, None);
        let commands = scheduler.subscribe(subject::COMMANDS).await.unwrap();
        let mut tasks = vec![tokio::spawn(answer_commands(
            commands,
            scheduler.clone(),
            state.clone(),
        ))];
        let batches = scheduler.subscribe(subject::COMMAND_BATCHES).await.unwrap();
        tasks.push(tokio::spawn(answer_batches(
            batches,
            scheduler.clone(),
            state.clone(),
        )));
        for audience in Audience::ALL {
            let queries = scheduler.subscribe(subject::queries(audience)).await.unwrap();
            tasks.push(tokio::spawn(answer_queries(
                queries,
                scheduler.clone(),
                state.clone(),
            )));
        }
        let consoles = daemon.subscribe(subject::console_requests(&h1())).await.unwrap();
        tasks.push(tokio::spawn(answer_consoles(
            consoles,
            daemon.clone(),
            state.clone(),
        )));
        tasks.push(tokio::spawn(tick(scheduler.clone(), state.clone())));
        scheduler.flush().await.unwrap();
        daemon.flush().await.unwrap();
        Self { state, tasks }
    }

    /// What was typed on the console.
    pub(crate) fn typed(&self) -> Vec<u8> {
        self.state.lock().unwrap().typed.clone()
    }

    /// How many commands came in each message that had several.
    pub(crate) fn batches(&self) -> Vec<usize> {
        self.state.lock().unwrap().batches.clone()
    }

    /// How often a console was read.
    pub(crate) fn reads(&self) -> u64 {
        self.state.lock().unwrap().reads
    }

    /// From now on no query is answered; commands are.
    pub(crate) fn answer_no_queries(&self) {
        self.state.lock().unwrap().mute = true;
    }

    /// The VM of this name, when there is one.
    pub(crate) fn vm(&self, name: &str) -> Option<Vm> {
        let state = self.state.lock().unwrap();
        let found = state
            .projection
            .vm_named(&ProjectName::default(), &name.parse().unwrap());
        found.map(|vm| vm.as_ref().clone())
    }

    /// How many events there are.
    pub(crate) fn seq(&self) -> Seq {
        self.state.lock().unwrap().projection.seq()
    }
}

impl State {
    fn decide(&mut self, submission: &Submission) -> Result<(Decided, Option<Record>), Rejection> {
        let alive = BTreeSet::from([host()]);
        let context = Context {
            now: client::now(),
            term: Term(1),
            alive: &alive,
            replicas: &Replicas::alone(ReplicaId::new(1).unwrap()),
        };
        let decided = decide_onto(&mut self.projection, submission, context)?;
        let record = match &decided {
            Decided::Record(record) => {
                self.records.push(record.clone());
                Some(record.clone())
            }
            _ => None,
        };
        Ok((decided, record))
    }

    /// As the host.
    fn report(&mut self, command: Command, follows: Option<Seq>) -> Option<Record> {
        let submission = Submission {
            follows,
            ..Submission::new(client::new_command_id(), Actor::Host(h1()), command)
        };
        self.decide(&submission).expect("the host reports what it may").1
    }

    /// What the host does after a change of this VM.
    fn converge(&mut self, vm: VmId) -> Vec<Record> {
        let Some(found) = self.projection.vm(vm).cloned() else {
            return Vec::new();
        };
        let started = Observation::Started {
            hypervisor: HypervisorKind::QemuTcg,
            pid: 42,
            took_us: 1_500,
        };
        let blocked = Observation::Blocked(REASON.to_owned());
        let observations = match (found.power, found.is_running(), self.guests) {
            (Power::Running, false, Guests::Boot) => vec![started, Observation::Ready],
            (Power::Running, false, Guests::Hang) => vec![started],
            (Power::Running, false, Guests::Block) => vec![blocked],
            (Power::Running, false, Guests::BlockThenBoot) => vec![blocked, started, Observation::Ready],
            (Power::Stopped(StopHow::Graceful(_)), true, _) => {
                vec![Observation::Exited(
                    ExitReason::PoweredOff,
                    String::new(),
                    Run::default(),
                )]
            }
            (Power::Stopped(StopHow::Hard), true, _) => {
                vec![Observation::Exited(
                    ExitReason::Killed,
                    String::new(),
                    Run::default(),
                )]
            }
            (Power::Deleted, true, _) => {
                vec![
                    Observation::Exited(ExitReason::Killed, String::new(), Run::default()),
                    Observation::Removed,
                ]
            }
            (Power::Deleted, false, _) => vec![Observation::Removed],
            (Power::Paused, true, _) => vec![Observation::Paused],
            // Its processors can be changed while it runs, and nothing else.
            (Power::Running, true, _) if found.unapplied().is_some() => vec![Observation::Applied {
                restart_needed: match found.spec.memory.size.mib() {
                    64 => Vec::new(),
                    _ => vec!["memory.size".to_owned().try_into().unwrap()],
                },
            }],
            (Power::Running, true, _) => vec![Observation::Resumed],
            (Power::Rebooting(reboot), true, _) => {
                let order = Some(reboot.order);
                vec![Observation::Rebooted { order }, Observation::Ready]
            }
            _ => Vec::new(),
        };
        let epoch = found.placement.unwrap().epoch;
        let follows = Some(found.revision());
        let report = |observation| Command::ReportVm {
            vm,
            epoch,
            observation,
        };
        observations
            .into_iter()
            .filter_map(|observation| self.report(report(observation), follows))
            .collect()
    }

    fn messages(&self, record: &Record) -> Vec<v1::EventMessage> {
        let indexes = 0..record.events.len();
        indexes
            .map(|index| convert::event_to_wire(record, index, &self.projection))
            .collect()
    }
}

async fn tick(nats: async_nats::Client, state: Arc<Mutex<State>>) {
    loop {
        let tick = v1::Tick {
            replica: 1,
            term: 1,
            seq: state.lock().unwrap().projection.seq().0,
            version: 1,
        };
        nats.publish(subject::TICK, tick.encode_to_vec().into())
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
