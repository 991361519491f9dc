//! A cluster of one, in memory: the domain's own rules behind a real nats-server, as a host meets them. Tests see
//! every event, and can make it lose what it should publish.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command as Program, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chv_domain::{
    Actor, ClusterId, Command, Context, Decided, DesiredVm, Event, HostId, HostName, HostSlice, Projection,
    Rejection, ReplicaId, Replicas, Seq, Submission, Term, VmId, decide_onto,
};
use chv_proto::client::{Client, ConnectOptions, new_command_id, now};
use chv_proto::convert::{
    FeedDelta, SlicePage, VERSION, decode_envelope, delta_to_wire, refused, slice_to_wire,
};
use chv_proto::subject::{self, HostMessage};
use chv_proto::v1;
use futures::StreamExt;
use prost::Message;
use tokio::sync::watch;

/// More than anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A nats-server of this test's own.
pub(crate) struct Nats {
    dir: tempfile::TempDir,
    child: Child,
    port: u16,
}

impl Nats {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // The server takes a free port, and writes down which.
        let child = Self::spawn(dir.path(), -1);
        let mut nats = Self { dir, child, port: 0 };
        nats.port = within("nats-server has a port", async {
            loop {
                if let Some(port) = nats.written_port() {
                    return port;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        nats
    }

    fn spawn(dir: &Path, port: i32) -> Child {
        let path = std::env::var("PATH").unwrap_or_default();
        Program::new("nats-server")
            .env("PATH", format!("{path}:/usr/sbin"))
            .args(["-a", "127.0.0.1", "-p", &port.to_string(), "--ports_file_dir"])
            .arg(dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server can be started; install it")
    }

    fn written_port(&self) -> Option<u16> {
        let file = std::fs::read_dir(self.dir.path())
            .unwrap()
            .flatten()
            .find(|entry| {
                entry
                    .file_name()
                    .to_string_lossy()
                    .ends_with(&format!("_{}.ports", self.child.id()))
            })?;
        let ports: serde_json::Value = serde_json::from_slice(&std::fs::read(file.path()).ok()?).ok()?;
        ports["nats"][0].as_str()?.rsplit(':').next()?.parse().ok()
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) async fn client(&self, user: &str) -> Client {
        Client::connect(self.options(user)).await.unwrap()
    }

    pub(crate) fn options(&self, user: &str) -> ConnectOptions {
        ConnectOptions {
            url: self.url(),
            user: user.to_owned(),
            password: "secret".to_owned(),
            name: "test".to_owned(),
            connect_timeout: PATIENCE,
        }
    }

    /// As kill -9.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again where it was.
    pub(crate) fn restart(&mut self) {
        self.child = Self::spawn(self.dir.path(), self.port.into());
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"))
}

/// A cluster of one.
#[derive(Clone)]
pub(crate) struct Cluster(Arc<Inner>);

struct Inner {
    nats: Client,
    state: Mutex<State>,
    events: watch::Sender<Vec<(Seq, Event)>>,
    heartbeats: watch::Sender<u32>,
}

struct State {
    cluster: ClusterId,
    projection: Projection,
    mute: bool,
    /// The version of what hosts are told.
    version: u32,
}

impl Cluster {
    /// Answers hosts on `nats` until the test ends.
    pub(crate) async fn start(nats: &Nats) -> Self {
        let client = nats.client("scheduler").await;
        let mut messages = client.nats().subscribe("chv.host.>").await.unwrap();
        client.nats().flush().await.unwrap();
        let inner = Inner {
            nats: client,
            state: Mutex::new(State {
                cluster: ClusterId::from_bytes([8; 16]),
                projection: Projection::default(),
                mute: false,
                version: VERSION,
            }),
            events: watch::channel(Vec::new()).0,
            heartbeats: watch::channel(0).0,
        };
        let this = Self(Arc::new(inner));
        let answering = this.clone();
        tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                let (host, kind) = subject::parse_host(&message.subject).unwrap();
                let answer = answering.answer(&host, kind, &message.payload).await;
                let _ = answering
                    .0
                    .nats
                    .nats()
                    .publish(message.reply.unwrap(), answer.into())
                    .await;
            }
        });
        this
    }

    async fn answer(&self, host: &HostName, kind: HostMessage, payload: &[u8]) -> Vec<u8> {
        let verb = match kind {
            HostMessage::Register => "host.register",
            HostMessage::Report => "host.report",
            HostMessage::Heartbeat => return self.heartbeat(payload).encode_to_vec(),
            HostMessage::Slice => return self.slice(payload).encode_to_vec(),
        };
        let submission = decode_envelope(payload, Actor::Host(host.clone()), verb, None).unwrap();
        let result = match self.decide(&submission).await {
            Ok(()) => v1::command_reply::Result::Accepted(v1::Accepted::default()),
            Err(rejection) => {
                v1::command_reply::Result::Refused(refused(rejection.code.as_str(), rejection.message, ""))
            }
        };
        v1::CommandReply {
            version: 1,
            id: submission.id.to_string(),
            result: Some(result),
        }
        .encode_to_vec()
    }

    fn heartbeat(&self, payload: &[u8]) -> v1::HeartbeatReply {
        let host: HostId = v1::Heartbeat::decode(payload).unwrap().host.parse().unwrap();
        let state = self.0.state.lock().unwrap();
        let entry = state.projection.host(host);
        self.0.heartbeats.send_modify(|heard| *heard += 1);
        v1::HeartbeatReply {
            term: 1,
            registered: entry.is_some(),
            feed: entry.map_or(0, |host| host.feed.0),
            cluster: state.cluster.to_string(),
            lease_ms: 15_000,
            version: state.version,
        }
    }

    fn slice(&self, payload: &[u8]) -> v1::HostSlice {
        let request = v1::SliceRequest::decode(payload).unwrap();
        let state = self.0.state.lock().unwrap();
        match HostSlice::of(&state.projection, request.host.parse().unwrap()) {
            Some(slice) => v1::HostSlice {
                version: state.version,
                ..slice_to_wire(&SlicePage { slice, more: false })
            },
            None => v1::HostSlice {
                refused: Some(refused("not_found", "not registered", "")),
                ..Default::default()
            },
        }
    }

    /// Whether changes are published; what isn't is lost.
    pub(crate) fn mute(&self, mute: bool) {
        self.0.state.lock().unwrap().mute = mute;
    }

    /// Does a command of a user's.
    pub(crate) async fn command(&self, command: Command) -> Result<(), Rejection> {
        let actor = Actor::User("alice".parse().unwrap());
        let submission = Submission::new(new_command_id(), actor, command);
        self.decide(&submission).await
    }

    async fn decide(&self, submission: &Submission) -> Result<(), Rejection> {
        let deltas = {
            let mut state = self.0.state.lock().unwrap();
            let before = state.projection.clone();
            let alive: BTreeSet<HostId> = before.hosts_by_name().map(|host| host.id).collect();
            let context = Context {
                now: now(),
                term: Term(1),
                alive: &alive,
                replicas: &Replicas::alone(ReplicaId::new(1).unwrap()),
            };
            let Decided::Record(record) = decide_onto(&mut state.projection, submission, context)? else {
                return Ok(());
            };
            self.0.events.send_modify(|events| {
                events.extend(
                    record
                        .events
                        .iter()
                        .enumerate()
                        .map(|(index, event)| (record.first.plus(index as u64), event.clone())),
                );
            });
            if state.mute {
                Vec::new()
            } else {
                deltas(&before, &state.projection)
            }
        };
        for (host, delta) in deltas {
            self.publish(&host, &delta).await;
        }
        Ok(())
    }

    /// Tells a host of a change.
    pub(crate) async fn publish(&self, host: &HostName, delta: &FeedDelta) {
        let version = self.0.state.lock().unwrap().version;
        let delta = v1::FeedDelta {
            version,
            ..delta_to_wire(delta)
        };
        let payload = delta.encode_to_vec();
        let _ = self
            .0
            .nats
            .nats()
            .publish(subject::feed(host), payload.into())
            .await;
    }

    /// Tells hosts what it tells them in this version from now on.
    pub(crate) fn speaks(&self, version: u32) {
        self.0.state.lock().unwrap().version = version;
    }

    /// Says that it is another cluster; gives which one it was.
    pub(crate) fn becomes(&self, other: ClusterId) -> ClusterId {
        std::mem::replace(&mut self.0.state.lock().unwrap().cluster, other)
    }

    /// Waits until so many more heartbeats were heard.
    pub(crate) async fn heard_heartbeats(&self, count: u32) {
        let mut heartbeats = self.0.heartbeats.subscribe();
        let until = *heartbeats.borrow() + count;
        within("heartbeats", heartbeats.wait_for(|heard| *heard >= until))
            .await
            .unwrap();
    }

    /// The first event from `from` on that `wanted` takes, and what it makes of it.
    pub(crate) async fn event<T>(&self, from: Seq, wanted: impl Fn(&Event) -> Option<T>) -> (Seq, T) {
        let mut events = self.0.events.subscribe();
        let found = async {
            loop {
                let hit = events.borrow_and_update().iter().find_map(|(seq, event)| {
                    (*seq >= from)
                        .then(|| wanted(event))
                        .flatten()
                        .map(|it| (*seq, it))
                });
                if let Some(hit) = hit {
                    return hit;
                }
                events.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(PATIENCE, found).await {
            Ok(found) => found,
            Err(_) => panic!("no such event in {:#?}", self.0.events.borrow()),
        }
    }

    /// Every event, and each new one as it comes.
    #[allow(dead_code, reason = "used by benchmarks only")]
    pub(crate) fn events(&self) -> watch::Receiver<Vec<(Seq, Event)>> {
        self.0.events.subscribe()
    }

    /// How many events `counted` takes.
    pub(crate) fn count(&self, counted: impl Fn(&Event) -> bool) -> usize {
        self.0
            .events
            .borrow()
            .iter()
            .filter(|(_, event)| counted(event))
            .count()
    }

    /// The processes of the VMs that run, as the log knows them.
    #[allow(dead_code, reason = "used with real guests only")]
    pub(crate) fn running(&self) -> Vec<u32> {
        let state = self.0.state.lock().unwrap();
        let phases = state.projection.vms_by_name(None).map(|vm| vm.phase.clone());
        phases
            .filter_map(|phase| match phase {
                chv_domain::Phase::Running { pid, .. } => Some(pid),
                _ => None,
            })
            .collect()
    }

    /// Every VM as the log knows it.
    #[allow(dead_code, reason = "used with the whole daemon only")]
    pub(crate) fn vms(&self) -> Vec<Arc<chv_domain::Vm>> {
        let state = self.0.state.lock().unwrap();
        state.projection.vms_by_name(None).cloned().collect()
    }

    /// The VM as the log knows it.
    pub(crate) fn vm(&self, vm: VmId) -> Option<Arc<chv_domain::Vm>> {
        self.0.state.lock().unwrap().projection.vm(vm).cloned()
    }
}

/// What changed for each host.
fn deltas(before: &Projection, after: &Projection) -> Vec<(HostName, FeedDelta)> {
    let mut deltas = Vec::new();
    for host in after.hosts_by_name() {
        let known = before.host(host.id).map_or(Seq::ZERO, |host| host.feed);
        if known == host.feed {
            continue;
        }
        let old = HostSlice::of(before, host.id)
            .map(|slice| slice.vms)
            .unwrap_or_default();
        let new = HostSlice::of(after, host.id)
            .map(|slice| slice.vms)
            .unwrap_or_default();
        let has = |vms: &[DesiredVm], id: VmId| vms.iter().any(|vm| vm.vm == id);
        let delta = FeedDelta {
            host: host.id,
            prev: Some(known).filter(|known| *known != Seq::ZERO),
            feed: host.feed,
            gone: old.iter().map(|vm| vm.vm).filter(|id| !has(&new, *id)).collect(),
            vms: new.into_iter().filter(|vm| !old.contains(vm)).collect(),
        };
        deltas.push((host.name.clone(), delta));
    }
    deltas
}
