//! The calling side: one connection for each purpose that Raft asks for, made anew after an error.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use chv_domain::ReplicaId;
use openraft::error::{
    Fatal, Infallible, InstallSnapshotError, NetworkError, RPCError, RaftError, ReplicationClosed,
    StreamingError, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RaftNetwork};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{AnyError, BasicNode, OptionalSend, Snapshot};
use tokio_util::task::AbortOnDropHandle;

use super::align;
use super::dial::{Connection, dial};
use super::frame::receive;
use super::message::{Answer, Append, Ask, AskVote, Request, Told};
use super::notice::Notice;
use super::peers::Peers;
use super::shown::Shown;
use super::spare::{Dialling, Spare};
use crate::files::DiskTrouble;
use crate::raft::{TypeConfig, Vote};

/// How long to leave an unreachable replica alone.
const BACKOFF: Duration = Duration::from_millis(200);

/// A connection to one replica.
pub(crate) struct Peer {
    peers: Peers,
    target: u64,
    address: Option<SocketAddr>,
    connection: Option<Connection>,
    dialling: Option<Dialling>,
    /// Whether the replica took what was sent last, so that Raft knows where its log ends.
    aligned: bool,
    shown: Shown,
    notice: Notice,
}

pub(super) type Failure<E = Infallible> = RPCError<u64, BasicNode, RaftError<u64, E>>;

impl Peer {
    pub(super) fn new(peers: Peers, target: u64, address: Option<SocketAddr>) -> Self {
        Self {
            target,
            address,
            connection: None,
            dialling: None,
            aligned: false,
            shown: Shown {
                log: peers.log.clone(),
                committed: None,
            },
            notice: Notice::default(),
            peers,
        }
    }

    /// Another connection to the same replica.
    fn another(&self) -> Self {
        Self::new(self.peers.clone(), self.target, self.address)
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
        if self.dialling.is_none() {
            match self.peers.spares.take(self.target, address) {
                Some(Spare::Connection(spare)) if spare.is_young() => return Ok(spare),
                // It may have failed long ago, which says nothing of now.
                Some(Spare::Dialling(over)) if over.is_finished() => match over.await {
                    Ok(Ok(spare)) if spare.is_young() => return Ok(spare),
                    _ => {}
                },
                Some(Spare::Dialling(dialling)) => self.dialling = Some(dialling),
                Some(Spare::Connection(_)) | None => {}
            }
        }
        let Peers {
            greeting, security, ..
        } = &self.peers;
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
                self.peers.away.told(self.target, connected.as_ref().map(|_| ()));
                connected.map_err(|error| RPCError::Unreachable(Unreachable::new(&error)))?
            }
        };
        let exchange = async {
            connection.sender.send(&mut connection.stream, &request).await?;
            receive::<Answer>(&mut connection.stream).await
        };
        let answer = tokio::time::timeout(patience, exchange)
            .await
            .map_err(|_| network(io::Error::from(io::ErrorKind::TimedOut)))?
            .map_err(network)?;
        self.connection = Some(connection);
        self.peers.answered.note(self.target);
        match answer.told {
            Some(Told::Failed(why)) => Err(network(io::Error::other(why))),
            Some(Told::Disk(trouble)) => {
                let trouble = DiskTrouble::from(trouble);
                self.peers.disks.note(self.target, Some(trouble.clone()));
                Err(network(io::Error::other(trouble)))
            }
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

/// What was made for this is left to the next one that calls the same replica.
impl Drop for Peer {
    fn drop(&mut self) {
        let spare = match (self.connection.take(), self.dialling.take()) {
            (Some(connection), _) => Spare::Connection(connection),
            (None, Some(dialling)) => Spare::Dialling(dialling),
            (None, None) => return,
        };
        if let Some(address) = self.address {
            self.peers.spares.keep(self.target, address, spare);
        }
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
    pub(super) async fn append(
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
        let told = self
            .call(Append::of(&rpc, &self.shown.log).map(Ask::Append), patience)
            .await?;
        let Told::Append(appended) = told else {
            return other(told);
        };
        self.peers.disks.note(self.target, appended.trouble());
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
