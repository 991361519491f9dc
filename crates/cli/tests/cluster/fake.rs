//! One replica that leads and one host, played by this test over the real rules: commands are decided and
//! folded by the domain, and the host does to a VM what the test says. Nothing is stored or replicated.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chv_domain::*;
use chv_proto::client::{Client, ConnectOptions};
use chv_proto::subject::{self, Audience};
use chv_proto::v1::query_envelope::Query;
use chv_proto::v1::{self, query_reply};
use chv_proto::{client, convert};
use futures::StreamExt;
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

struct State {
    projection: Projection,
    records: Vec<Record>,
    guests: Guests,
    typed: Vec<u8>,
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
            },
        };
        state.lock().unwrap().report(register, None);
        let commands = scheduler.subscribe(subject::COMMANDS).await.unwrap();
        let mut tasks = vec![tokio::spawn(answer_commands(
            commands,
            scheduler.clone(),
            state.clone(),
        ))];
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
            id: client::new_command_id(),
            actor: Actor::Host(h1()),
            command,
            expected: None,
            deadline: None,
            trace: None,
            follows,
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
                vec![Observation::Exited(ExitReason::PoweredOff)]
            }
            (Power::Stopped(StopHow::Hard), true, _) => vec![Observation::Exited(ExitReason::Killed)],
            (Power::Deleted, true, _) => {
                vec![Observation::Exited(ExitReason::Killed), Observation::Removed]
            }
            (Power::Deleted, false, _) => vec![Observation::Removed],
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

async fn publish(nats: &async_nats::Client, state: &Mutex<State>, record: &Record) {
    let messages = state.lock().unwrap().messages(record);
    for (message, event) in messages.iter().zip(&record.events) {
        let subject = subject::event(event, &message.project, &message.name);
        nats.publish(subject, message.encode_to_vec().into())
            .await
            .unwrap();
    }
}

async fn answer_commands(
    mut commands: async_nats::Subscriber,
    nats: async_nats::Client,
    state: Arc<Mutex<State>>,
) {
    while let Some(message) = commands.next().await {
        let (user, verb) = subject::parse_command(&message.subject).unwrap();
        let submission = convert::decode_envelope(&message.payload, Actor::User(user), &verb, None).unwrap();
        let (reply, record, vm) = decided(&state, &submission);
        if let Some(record) = &record {
            publish(&nats, &state, record).await;
        }
        if let Some(to) = message.reply {
            nats.publish(to, reply.encode_to_vec().into()).await.unwrap();
        }
        if let (Some(vm), Some(_)) = (vm, record) {
            let reports = state.lock().unwrap().converge(vm);
            for record in reports {
                publish(&nats, &state, &record).await;
            }
        }
    }
}

fn decided(
    state: &Mutex<State>,
    submission: &Submission,
) -> (v1::CommandReply, Option<Record>, Option<VmId>) {
    let mut state = state.lock().unwrap();
    let mut reply = v1::CommandReply {
        version: convert::VERSION,
        id: submission.id.to_string(),
        result: None,
    };
    let (decided, record) = match state.decide(submission) {
        Ok(decided) => decided,
        Err(rejection) => {
            let refused = convert::refused(rejection.code.as_str(), rejection.message, "");
            reply.result = Some(v1::command_reply::Result::Refused(refused));
            return (reply, None, None);
        }
    };
    let (resource, mut accepted) = match &decided {
        Decided::Record(record) => {
            let accepted = v1::Accepted {
                first_seq: record.first.0,
                last_seq: record.last().0,
                ..v1::Accepted::default()
            };
            (record.events[0].resource(), accepted)
        }
        Decided::Repeat(outcome) => {
            let accepted = v1::Accepted {
                first_seq: outcome.first.0,
                last_seq: outcome.last.0,
                repeated_answer: true,
                ..v1::Accepted::default()
            };
            (outcome.resource, accepted)
        }
        Decided::Unchanged { resource, .. } => {
            let accepted = v1::Accepted {
                unchanged: true,
                ..v1::Accepted::default()
            };
            (*resource, accepted)
        }
    };
    accepted.host = "h1".to_owned();
    accepted.host_id = host().to_string();
    let mut vm = None;
    if let Resource::Vm(id) = resource {
        vm = Some(id);
        accepted.vm = id.to_string();
        accepted.revision = state.projection.vm(id).map_or(0, |vm| vm.revision().0);
    }
    for event in record.iter().flat_map(|record| &record.events) {
        if let Event::VmPlaced { placed, .. } = event {
            accepted.placement = placed.to_string();
        }
    }
    reply.result = Some(v1::command_reply::Result::Accepted(accepted));
    (reply, record, vm)
}

async fn answer_queries(
    mut queries: async_nats::Subscriber,
    nats: async_nats::Client,
    state: Arc<Mutex<State>>,
) {
    while let Some(message) = queries.next().await {
        let (_, _, kind) = subject::parse_query(&message.subject).unwrap();
        let asked = convert::decode_query(&message.payload, &kind).unwrap();
        let reply = {
            let state = state.lock().unwrap();
            v1::QueryReply {
                version: convert::VERSION,
                replica: 1,
                applied_seq: state.projection.seq().0,
                as_leader: true,
                result: Some(state.result(asked.query)),
            }
        };
        if let Some(to) = message.reply {
            nats.publish(to, reply.encode_to_vec().into()).await.unwrap();
        }
    }
}

impl State {
    fn result(&self, query: Query) -> query_reply::Result {
        use query_reply::Result as Answer;
        let host_name = h1();
        match query {
            Query::GetVm(get) => {
                let named = convert::vm_ref_from_wire(get.vm, "vm").unwrap();
                match self.projection.resolve(&named) {
                    Some(vm) => Answer::Vm(convert::vm_to_wire(vm, Some(&host_name))),
                    None => Answer::Refused(convert::refused(
                        "not_found",
                        format!("there is no VM {named}"),
                        "",
                    )),
                }
            }
            Query::ListVms(list) => {
                // One a page, so that paging is tested.
                let after = list
                    .after
                    .map(|after| (after.project.parse().unwrap(), after.name.parse().unwrap()));
                let mut vms = self.projection.vms_by_name(after.as_ref());
                Answer::Vms(v1::VmPage {
                    vms: vms
                        .next()
                        .map(|vm| convert::vm_to_wire(vm, Some(&host_name)))
                        .into_iter()
                        .collect(),
                    more: vms.next().is_some(),
                })
            }
            Query::ListHosts(list) => {
                let hosts = self
                    .projection
                    .hosts_by_name()
                    .filter(|host| host.name.as_str() > list.after.as_str());
                Answer::Hosts(v1::HostPage {
                    hosts: hosts
                        .map(|host| convert::host_to_wire(host, true, Some(Duration::from_millis(300))))
                        .collect(),
                    more: false,
                })
            }
            Query::ListEvents(list) => Answer::Events(self.events(list)),
            Query::GetStatus(get) => Answer::Status(v1::ReplicaStatus {
                cluster: "01KAJ4W2R4T8Y3Z6N5M7Q9C1BD".to_owned(),
                replica: 1,
                role: "leader".to_owned(),
                term: 1,
                leader: 1,
                applied_seq: self.projection.seq().0,
                voters: vec![1, 2],
                vms: self.projection.vm_count() as u64,
                hosts: 1,
                hosts_alive: 1,
                version: "0.1.0".to_owned(),
                digest: if get.digest {
                    self.projection.digest().0.to_vec()
                } else {
                    Vec::new()
                },
                ..v1::ReplicaStatus::default()
            }),
        }
    }

    /// Looks at two events a page, so that paging is tested.
    fn events(&self, list: v1::ListEvents) -> v1::EventPage {
        let from = list.from_seq.max(1);
        let vm = list
            .vm
            .map(|vm| convert::vm_ref_from_wire(Some(vm), "vm").unwrap());
        let vm = vm.map(|vm| match vm {
            VmRef::Id(id) => id,
            VmRef::Name(..) => self.projection.resolve(&vm).unwrap().id,
        });
        let all: Vec<_> = self
            .records
            .iter()
            .flat_map(|record| self.messages(record))
            .collect();
        let page: Vec<_> = all
            .iter()
            .filter(|event| event.seq >= from)
            .take(2)
            .cloned()
            .collect();
        let next_seq = page.last().map_or(from, |last| last.seq + 1);
        let wanted = |event: &v1::EventMessage| {
            let entry = convert::event_from_wire(event.clone()).unwrap();
            vm.is_none_or(|vm| entry.event.resource() == Resource::Vm(vm))
                && (list.actor.is_empty() || list.actor == event.actor)
                && (list.command.is_empty() || list.command == event.command)
        };
        v1::EventPage {
            events: page.into_iter().filter(wanted).collect(),
            next_seq,
            more: next_seq <= self.projection.seq().0,
        }
    }
}

async fn answer_consoles(
    mut consoles: async_nats::Subscriber,
    nats: async_nats::Client,
    state: Arc<Mutex<State>>,
) {
    while let Some(message) = consoles.next().await {
        let (_, _, kind) = subject::parse_console(&message.subject).unwrap();
        let reply = match kind {
            subject::ConsoleMessage::Read => {
                let read = v1::ConsoleRead::decode(message.payload).unwrap();
                let running = {
                    let state = state.lock().unwrap();
                    let vm = state.projection.vm(read.vm.parse().unwrap()).unwrap();
                    vm.is_running()
                };
                let log = if running { CONSOLE } else { b"" };
                let length = log.len() as u64;
                let offset = read
                    .tail
                    .map_or(read.offset, |tail| length.saturating_sub(tail))
                    .min(length);
                let chunk = v1::ConsoleChunk {
                    offset,
                    data: log[offset as usize..].iter().copied().take(7).collect(),
                    running,
                    refused: None,
                };
                if chunk.data.is_empty() {
                    // A long poll, in short.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                chunk.encode_to_vec()
            }
            subject::ConsoleMessage::Write => {
                let write = v1::ConsoleWrite::decode(message.payload).unwrap();
                state.lock().unwrap().typed.extend(write.data);
                v1::ConsoleWritten { refused: None }.encode_to_vec()
            }
        };
        if let Some(to) = message.reply {
            nats.publish(to, reply.into()).await.unwrap();
        }
    }
}

async fn tick(nats: async_nats::Client, state: Arc<Mutex<State>>) {
    loop {
        let tick = v1::Tick {
            replica: 1,
            term: 1,
            seq: state.lock().unwrap().projection.seq().0,
        };
        nats.publish(subject::TICK, tick.encode_to_vec().into())
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
