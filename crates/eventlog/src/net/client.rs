//! The calling side: one connection for each purpose that Raft asks for, made anew after an error.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chv_domain::ReplicaId;
use openraft::error::{InstallSnapshotError, NetworkError, RPCError, RaftError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft::{AnyError, BasicNode};
use tokio::net::TcpStream;

use super::frame::{receive, receive_at_most, send};
use super::message::{Answer, Append, Ask, AskVote, Chunk, Hello, MAX_HELLO, PROTOCOL, Request, Told};
use crate::files::Identity;
use crate::raft::log_storage::LogStorage;
use crate::raft::{LogId, TypeConfig};
use crate::secret::ClusterSecret;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(1);

/// How long to wait for the own disk before a follower is told that entries are committed.
const FLUSH: Duration = Duration::from_millis(5);

/// How long to leave an unreachable replica alone.
const BACKOFF: Duration = Duration::from_millis(200);

/// Who the others are.
#[derive(Clone)]
pub(crate) struct Peers {
    identity: Identity,
    secret: ClusterSecret,
    addresses: Arc<BTreeMap<ReplicaId, SocketAddr>>,
    log: LogStorage,
    away: Away,
}

/// The replicas that could not be reached at the last try, so that it is told once and not at each.
#[derive(Clone, Default)]
struct Away(Arc<Mutex<BTreeSet<u64>>>);

impl Away {
    fn told(&self, target: u64, reached: Result<(), &io::Error>) {
        let mut away = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match reached {
            Ok(()) if away.remove(&target) => tracing::info!(replica = target, "reached again"),
            Err(error) if away.insert(target) => {
                tracing::warn!(replica = target, %error, "not reached; trying again until it is");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

impl Peers {
    pub(crate) fn new(
        identity: Identity,
        secret: ClusterSecret,
        addresses: BTreeMap<ReplicaId, SocketAddr>,
        log: LogStorage,
    ) -> Self {
        Self {
            identity,
            secret,
            addresses: Arc::new(addresses),
            log,
            away: Away::default(),
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for Peers {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, _: &BasicNode) -> Peer {
        let address = ReplicaId::new(target)
            .and_then(|id| self.addresses.get(&id))
            .copied();
        Peer {
            identity: self.identity,
            secret: self.secret.clone(),
            away: self.away.clone(),
            target,
            address,
            connection: None,
            shown: Shown {
                log: self.log.clone(),
                committed: None,
            },
        }
    }
}

/// A connection to one replica.
pub(crate) struct Peer {
    identity: Identity,
    secret: ClusterSecret,
    away: Away,
    target: u64,
    address: Option<SocketAddr>,
    connection: Option<TcpStream>,
    shown: Shown,
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

type Failure<E = openraft::error::Infallible> = RPCError<u64, BasicNode, RaftError<u64, E>>;

impl Peer {
    async fn connect(&self) -> io::Result<TcpStream> {
        let address = self.address.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("no address is known for replica {}", self.target),
            )
        })?;
        let greeting = async {
            let mut stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let hello = Hello {
                protocol: PROTOCOL,
                cluster: self.identity.cluster.to_bytes().to_vec().into(),
                from: self.identity.replica.get(),
                to: self.target,
                secret: self.secret.as_bytes().to_vec().into(),
                refused: String::new(),
            };
            send(&mut stream, &hello).await?;
            let answer: Hello = receive_at_most(&mut stream, MAX_HELLO).await?;
            let expected = Hello {
                from: hello.to,
                to: hello.from,
                secret: Default::default(),
                ..hello
            };
            if answer != expected {
                let why = match answer.refused.is_empty() {
                    true => format!("{address} is another replica than {}", self.target),
                    false => format!("replica {} at {address} refused: {}", self.target, answer.refused),
                };
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
            }
            Ok(stream)
        };
        tokio::time::timeout(CONNECT, greeting)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
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
        let mut stream = match self.connection.take() {
            Some(stream) => stream,
            None => {
                let connected = self.connect().await;
                self.away.told(self.target, connected.as_ref().map(|_| ()));
                connected.map_err(|error| RPCError::Unreachable(Unreachable::new(&error)))?
            }
        };
        let exchange = async {
            send(&mut stream, &request).await?;
            receive::<Answer>(&mut stream).await
        };
        let answer = tokio::time::timeout(patience, exchange)
            .await
            .map_err(|_| network(io::Error::from(io::ErrorKind::TimedOut)))?
            .map_err(network)?;
        self.connection = Some(stream);
        match answer.told {
            Some(Told::Failed(why)) => Err(network(io::Error::other(why))),
            Some(told) => Ok(told),
            None => Err(network(io::Error::other("an answer that says nothing"))),
        }
    }
}

fn network<E: std::error::Error>(error: io::Error) -> Failure<E> {
    RPCError::Network(NetworkError::new(&AnyError::new(&error)))
}

fn other<T, E: std::error::Error>(_: Told) -> Result<T, Failure<E>> {
    Err(network(io::Error::other("an answer to another question")))
}

impl RaftNetwork<TypeConfig> for Peer {
    async fn append_entries(
        &mut self,
        mut rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, Failure> {
        rpc.leader_commit = self.shown.of(rpc.leader_commit, !rpc.entries.is_empty()).await;
        match self
            .call(Append::of(&rpc).map(Ask::Append), option.hard_ttl())
            .await?
        {
            Told::Append(appended) => appended.response().map_err(network),
            told => other(told),
        }
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, Failure<InstallSnapshotError>> {
        match self
            .call(Chunk::of(rpc).map(Ask::Snapshot), option.hard_ttl())
            .await?
        {
            Told::Snapshot(vote) => Ok(vote.response()),
            told => other(told),
        }
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
