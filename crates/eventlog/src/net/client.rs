//! The calling side: one connection for each purpose that Raft asks for, made anew after an error.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use chv_domain::{Introduction, ReplicaId};
use openraft::error::{
    Fatal, Infallible, InstallSnapshotError, NetworkError, RPCError, RaftError, ReplicationClosed,
    StreamingError, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{AnyError, BasicNode, OptionalSend, Raft, RaftMetrics, Snapshot};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::align;
use super::dial::{Connection, dial};
use super::frame::{receive, send};
use super::greeting::Greeting;
use super::message::{Answer, Append, Ask, AskVote, Request, Told, WouldVote};
use super::notice::Notice;
use super::security::Security;
use crate::elect::Opinion;
use crate::raft::log_storage::LogStorage;
use crate::raft::{LogId, TypeConfig, Vote};

/// How long to wait for the own disk before a follower is told that entries are committed.
const FLUSH: Duration = Duration::from_millis(5);

/// How long to leave an unreachable replica alone.
const BACKOFF: Duration = Duration::from_millis(200);

/// How long an answer counts as one of late: several heartbeats.
const LATELY: Duration = Duration::from_secs(3);

/// How long a replica may take to say whether it takes over.
const TAKE_OVER: Duration = Duration::from_millis(500);

/// How this replica calls the others; where each is, the membership says.
#[derive(Clone)]
pub(crate) struct Peers {
    greeting: Greeting,
    security: Security,
    log: LogStorage,
    away: Away,
    answered: Answered,
    members: Arc<OnceLock<watch::Receiver<RaftMetrics<u64, BasicNode>>>>,
}

/// The replicas that could not be reached at the last try, and how that went, so that it is told once and not at each.
#[derive(Clone, Default)]
struct Away(Arc<Mutex<BTreeMap<u64, io::ErrorKind>>>);

impl Away {
    fn told(&self, target: u64, reached: Result<(), &io::Error>) {
        let mut away = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match reached {
            Ok(()) if away.remove(&target).is_some() => tracing::info!(replica = target, "reached again"),
            Err(error) if away.insert(target, error.kind()) != Some(error.kind()) => {
                tracing::warn!(replica = target, %error, "not reached; trying again until it is");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

/// When each replica last answered.
#[derive(Clone, Default)]
struct Answered(Arc<Mutex<BTreeMap<u64, Instant>>>);

impl Answered {
    fn note(&self, target: u64) {
        let mut answered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answered.insert(target, Instant::now());
    }

    fn lately(&self) -> BTreeSet<ReplicaId> {
        let answered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = answered.iter().filter(|(_, at)| at.elapsed() < LATELY);
        fresh.filter_map(|(id, _)| ReplicaId::new(*id)).collect()
    }
}

/// What a replica says when it is asked to take over.
pub(crate) enum TakeOver {
    /// It stands for election now.
    Stands,
    /// It does not, and why.
    Declines(String),
}

impl Peers {
    /// The other replicas, as Raft's membership has them.
    pub(crate) fn others(&self) -> Vec<(ReplicaId, BasicNode)> {
        let Some(metrics) = self.members.get() else {
            return Vec::new();
        };
        let metrics = metrics.borrow();
        let nodes = metrics.membership_config.nodes();
        nodes
            .filter_map(|(id, node)| Some((ReplicaId::new(*id)?, node.clone())))
            .filter(|(replica, _)| *replica != self.greeting.identity.replica)
            .collect()
    }

    /// Whether the replica `voter` would vote for this one, whose log ends at `last`.
    pub(crate) async fn would_vote(
        &self,
        voter: u64,
        node: &BasicNode,
        last: Option<LogId>,
        patience: Duration,
    ) -> io::Result<Opinion> {
        let mut peer = self.clone().new_client(voter, node).await;
        let asking = peer.ask(Ask::WouldVote(WouldVote::of(last)), patience);
        match tokio::time::timeout(patience, asking).await?? {
            Told::WouldVote(opinion) => Ok(opinion.into()),
            _ => Err(io::Error::other("an answer to another question")),
        }
    }

    /// Knows the others by `raft` from now on.
    pub(crate) fn follow(&self, raft: &Raft<TypeConfig>) {
        // Called once, at the start.
        let _ = self.members.set(raft.metrics());
    }

    /// What the replicas said of themselves, this one among them.
    pub(crate) fn introductions(&self) -> BTreeMap<ReplicaId, Introduction> {
        self.greeting.told()
    }

    /// The replicas that answered within the last seconds.
    pub(crate) fn answering(&self) -> BTreeSet<ReplicaId> {
        self.answered.lately()
    }

    /// Asks `heir`, which has the log up to `last`, to stand for election.
    pub(crate) async fn take_over(
        &self,
        heir: ReplicaId,
        address: &str,
        last: LogId,
    ) -> io::Result<TakeOver> {
        let address = address.parse().map_err(io::Error::other)?;
        let asking = async {
            let mut connection = dial(self.greeting.clone(), self.security.clone(), heir, address).await?;
            let ask = Some(Ask::TakeOver(last.into()));
            send(&mut connection.stream, &Request { ask }).await?;
            receive::<Answer>(&mut connection.stream).await
        };
        let answer = tokio::time::timeout(TAKE_OVER, asking)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        match answer.told {
            Some(Told::TakeOver(declined)) if declined.is_empty() => Ok(TakeOver::Stands),
            Some(Told::TakeOver(why) | Told::Failed(why)) => Ok(TakeOver::Declines(why)),
            _ => Err(io::Error::other("an answer to another question")),
        }
    }

    pub(crate) fn new(greeting: Greeting, security: Security, log: LogStorage) -> Self {
        Self {
            greeting,
            security,
            log,
            away: Away::default(),
            answered: Answered::default(),
            members: Arc::default(),
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for Peers {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Peer {
        let address = node.addr.parse().ok();
        Peer {
            greeting: self.greeting.clone(),
            security: self.security.clone(),
            away: self.away.clone(),
            answered: self.answered.clone(),
            target,
            address,
            connection: None,
            dialling: None,
            aligned: false,
            shown: Shown {
                log: self.log.clone(),
                committed: None,
            },
            notice: Notice::default(),
        }
    }
}

/// A connection to one replica.
pub(crate) struct Peer {
    greeting: Greeting,
    security: Security,
    away: Away,
    answered: Answered,
    target: u64,
    address: Option<SocketAddr>,
    connection: Option<Connection>,
    dialling: Option<AbortOnDropHandle<io::Result<Connection>>>,
    /// Whether the replica took what was sent last, so that Raft knows where its log ends.
    aligned: bool,
    shown: Shown,
    notice: Notice,
}

/// How far a leader shows a follower that the log is committed: never further than its own disk has it, since Raft
/// is told that the leader's entries are flushed before they are.
struct Shown {
    log: LogStorage,
    committed: Option<LogId>,
}

impl Shown {
    /// What to say instead of `committed`. Waits a little where nothing else would tell the follower soon.
    async fn of(&mut self, committed: Option<LogId>, more_to_come: bool) -> Option<LogId> {
        let Some(now) = committed else {
            return self.committed;
        };
        if !more_to_come && !self.log.is_flushed(now.index) {
            // A slow disk must not hold up heartbeats.
            let _ = tokio::time::timeout(FLUSH, self.log.flushed(now.index)).await;
        }
        if self.log.is_flushed(now.index) {
            self.committed = committed;
        }
        self.committed
    }
}

type Failure<E = Infallible> = RPCError<u64, BasicNode, RaftError<u64, E>>;

impl Peer {
    /// Another connection to the same replica.
    fn another(&self) -> Self {
        Self {
            greeting: self.greeting.clone(),
            security: self.security.clone(),
            away: self.away.clone(),
            answered: self.answered.clone(),
            target: self.target,
            address: self.address,
            connection: None,
            dialling: None,
            aligned: false,
            shown: Shown {
                log: self.shown.log.clone(),
                committed: None,
            },
            notice: Notice::default(),
        }
    }

    /// Goes on connecting where an earlier call was given up: Raft's patience for a call can be shorter than a
    /// handshake takes.
    async fn connect(&mut self) -> io::Result<Connection> {
        let (Some(replica), Some(address)) = (ReplicaId::new(self.target), self.address) else {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("no address is known for replica {}", self.target),
            ));
        };
        let (greeting, security) = (&self.greeting, &self.security);
        let dialling = self.dialling.get_or_insert_with(|| {
            AbortOnDropHandle::new(tokio::spawn(dial(
                greeting.clone(),
                security.clone(),
                replica,
                address,
            )))
        });
        let dialled = dialling.await;
        self.dialling = None;
        dialled.map_err(io::Error::other)?
    }

    async fn call<E: std::error::Error>(
        &mut self,
        ask: io::Result<Ask>,
        patience: Duration,
    ) -> Result<Told, Failure<E>> {
        let request = Request {
            ask: Some(ask.map_err(network)?),
        };
        // Taken out, so that a call that is dropped half way leaves no connection with half an answer on it.
        let mut connection = match self.connection.take().filter(Connection::is_young) {
            Some(connection) => connection,
            None => {
                let connected = self.connect().await;
                self.away.told(self.target, connected.as_ref().map(|_| ()));
                connected.map_err(|error| RPCError::Unreachable(Unreachable::new(&error)))?
            }
        };
        let exchange = async {
            send(&mut connection.stream, &request).await?;
            receive::<Answer>(&mut connection.stream).await
        };
        let answer = tokio::time::timeout(patience, exchange)
            .await
            .map_err(|_| network(io::Error::from(io::ErrorKind::TimedOut)))?
            .map_err(network)?;
        self.connection = Some(connection);
        self.answered.note(self.target);
        match answer.told {
            Some(Told::Failed(why)) => Err(network(io::Error::other(why))),
            Some(told) => Ok(told),
            None => Err(network(io::Error::other("an answer that says nothing"))),
        }
    }
}

impl Peer {
    /// As [`Self::call`], for what is not Raft's.
    pub(super) async fn ask(&mut self, ask: Ask, patience: Duration) -> io::Result<Told> {
        let told = self.call::<Infallible>(Ok(ask), patience).await;
        told.map_err(|error| match error {
            RPCError::Unreachable(error) => io::Error::new(io::ErrorKind::NotConnected, error),
            error => io::Error::other(error.to_string()),
        })
    }
}

fn network<E: std::error::Error>(error: io::Error) -> Failure<E> {
    RPCError::Network(NetworkError::new(&AnyError::new(&error)))
}

fn other<T, E: std::error::Error>(_: Told) -> Result<T, Failure<E>> {
    Err(network(io::Error::other("an answer to another question")))
}

impl Peer {
    /// Sends entries, or a heartbeat.
    async fn append(
        &mut self,
        mut rpc: AppendEntriesRequest<TypeConfig>,
        patience: Duration,
    ) -> Result<AppendEntriesResponse<u64>, Failure> {
        rpc.leader_commit = self.shown.of(rpc.leader_commit, !rpc.entries.is_empty()).await;
        let upto = align::end(&rpc);
        if let Some(last) = rpc.entries.last().map(|entry| entry.log_id)
            && (!self.aligned || align::is_last_alone(&rpc))
        {
            let theirs = match self.aligned {
                true => None,
                false => Some(self.log_end(patience).await.map_err(network)?),
            };
            let aligned = align::align(&self.shown.log, &mut rpc, last, theirs).await;
            aligned.map_err(|error| network(io::Error::other(error)))?;
        }
        let told = self.call(Append::of(&rpc).map(Ask::Append), patience).await?;
        let Told::Append(appended) = told else {
            return other(told);
        };
        let response = appended.response().map_err(network)?;
        self.aligned = matches!(
            response,
            AppendEntriesResponse::Success | AppendEntriesResponse::PartialSuccess(_)
        );
        Ok(match response {
            AppendEntriesResponse::Success if align::end(&rpc) < upto => {
                AppendEntriesResponse::PartialSuccess(align::end(&rpc))
            }
            response => response,
        })
    }
}

impl RaftNetwork<TypeConfig> for Peer {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, Failure> {
        let mut notice = std::mem::take(&mut self.notice);
        let put_off = notice.puts_off(&rpc, || self.another());
        self.notice = notice;
        if put_off {
            return Ok(AppendEntriesResponse::Success);
        }
        self.notice.unknown();
        let (vote, end) = (rpc.vote, align::end(&rpc));
        let response = self.append(rpc, option.hard_ttl()).await?;
        if matches!(response, AppendEntriesResponse::Success) {
            self.notice.took(vote, end, self.shown.committed);
        }
        Ok(response)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<TypeConfig>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<TypeConfig, Fatal<u64>>> {
        super::snapshot::send(self, vote, snapshot, cancel).await
    }

    async fn install_snapshot(
        &mut self,
        _: InstallSnapshotRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, Failure<InstallSnapshotError>> {
        Err(network(io::Error::other("snapshots are sent as files")))
    }

    async fn vote(&mut self, rpc: VoteRequest<u64>, option: RPCOption) -> Result<VoteResponse<u64>, Failure> {
        match self
            .call(Ok(Ask::Vote(AskVote::of(&rpc))), option.hard_ttl())
            .await?
        {
            Told::Vote(voted) => voted.response().map_err(network),
            told => other(told),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(BACKOFF))
    }
}
