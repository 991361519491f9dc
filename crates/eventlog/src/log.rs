//! The event log as the scheduler sees it: append, read, watch.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chv_domain::{Batch, BatchOutcome, ClusterId, Projection, ReplicaId, Seq, Term};
use openraft::error::{ClientWriteError, RaftError as OpenraftError};
use openraft::{BasicNode, Raft, ServerState};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::files::Identity;
use crate::index::Reached;
use crate::raft::TypeConfig;
use crate::raft::log_storage::LogStorage;
use crate::raft::state_machine::Applied;
use crate::raft::writer::{Fatal, WriterThread};

/// How long an append may take to be committed and applied here.
const APPEND: Duration = Duration::from_secs(5);

/// How long making sure of leadership may take.
const CONFIRM: Duration = Duration::from_secs(2);

/// What a replica is opened with.
pub struct Config {
    /// Its data directory, made by [`EventLog::init`].
    pub dir: PathBuf,
    /// Where the other replicas reach it; bound already. Loopback only, since connections are not encrypted.
    pub listener: TcpListener,
    /// Every replica with its address, this one's included.
    pub peers: BTreeMap<ReplicaId, SocketAddr>,
    /// Whether to form the cluster out of `peers` when this replica's log is empty. Harmless later.
    pub bootstrap: bool,
    /// How Raft keeps time.
    pub timing: Timing,
    /// A snapshot is made after this many log entries.
    pub snapshot_every: u64,
    /// The size of a new segment file, in bytes.
    pub segment_size: u64,
}

impl Config {
    /// Sensible values for what is not said.
    pub fn new(dir: PathBuf, listener: TcpListener, peers: BTreeMap<ReplicaId, SocketAddr>) -> Self {
        Self {
            dir,
            listener,
            peers,
            bootstrap: false,
            timing: Timing::default(),
            snapshot_every: 20_000,
            segment_size: 16 << 20,
        }
    }
}

/// How Raft keeps time.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// A leader's word that it is there.
    pub heartbeat: Duration,
    /// A follower stands for election after between this and twice this without one.
    pub election: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(250),
            election: Duration::from_secs(1),
        }
    }
}

/// Who leads, as this replica knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leadership {
    /// Another replica, or nobody that is known.
    Follower {
        /// Who leads, when known.
        leader: Option<ReplicaId>,
    },
    /// This replica.
    Leader {
        /// Its term.
        term: Term,
        /// Whether an entry of that term is applied here: before, it must not decide.
        ready: bool,
    },
}

/// What a replica is in Raft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It leads.
    Leader,
    /// It follows.
    Follower,
    /// It stands for election.
    Candidate,
    /// It follows, and has no vote.
    Learner,
    /// It is ending.
    Shutdown,
}

impl Role {
    /// In one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Candidate => "candidate",
            Self::Learner => "learner",
            Self::Shutdown => "shutdown",
        }
    }
}

/// A replica's state.
#[derive(Debug, Clone)]
pub struct Status {
    /// What it is.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// The leader that it knows.
    pub leader: Option<ReplicaId>,
    /// The last entry of its log; 0 for none.
    pub last_log_index: u64,
    /// The last entry that it applied; 0 for none.
    pub applied_index: u64,
    /// Who votes.
    pub voters: Vec<ReplicaId>,
}

/// Why a batch was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// This replica does not lead. Nothing was appended.
    #[error("this replica does not lead")]
    NotLeader,
    /// It took too long; the batch may still be committed, or not.
    #[error("the batch was not committed within {} seconds; whether it will be is not known", APPEND.as_secs())]
    Timeout,
    /// The log can't go on.
    #[error("the log can't go on: {0}")]
    Fatal(String),
}

/// This replica can't make sure that it leads.
#[derive(Debug, thiserror::Error)]
#[error("this replica can't make sure that it leads: {0}")]
pub struct NotConfirmed(pub(crate) String);

/// A handle to the log; cheap to clone.
#[derive(Clone)]
pub struct EventLog {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) identity: Identity,
    pub(crate) raft: Raft<TypeConfig>,
    pub(crate) storage: LogStorage,
    pub(crate) applied: Applied,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) fatal: watch::Receiver<Fatal>,
    pub(crate) index: watch::Receiver<Reached>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) writer: Mutex<Option<WriterThread>>,
}

impl EventLog {
    /// The cluster.
    pub fn cluster(&self) -> ClusterId {
        self.inner.identity.cluster
    }

    /// This replica.
    pub fn replica(&self) -> ReplicaId {
        self.inner.identity.replica
    }

    /// Appends one entry. Resolves when it is on a majority's disk and applied here. Dropping the future does
    /// not take it back.
    pub async fn append(&self, batch: Batch) -> Result<BatchOutcome, AppendError> {
        let fatal = |error: &dyn std::fmt::Display| AppendError::Fatal(error.to_string());
        let written = async {
            let answer = self
                .inner
                .raft
                .client_write_ff(batch)
                .await
                .map_err(|error| fatal(&error))?;
            match answer.await {
                Ok(Ok(response)) => response.data.ok_or_else(|| fatal(&"a batch without an outcome")),
                Ok(Err(ClientWriteError::ForwardToLeader(_))) => Err(AppendError::NotLeader),
                Ok(Err(error)) => Err(fatal(&error)),
                // Raft lets go of answers when it ends, and when another leader is elected.
                Err(_) => Err(AppendError::Timeout),
            }
        };
        tokio::time::timeout(APPEND, written)
            .await
            .unwrap_or(Err(AppendError::Timeout))
    }

    /// Makes sure that this replica leads, and that its projection has all that was ever acknowledged.
    pub async fn confirm_leadership(&self) -> Result<(), NotConfirmed> {
        match tokio::time::timeout(CONFIRM, self.inner.raft.ensure_linearizable()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(OpenraftError::APIError(error))) => Err(NotConfirmed(error.to_string())),
            Ok(Err(OpenraftError::Fatal(error))) => Err(NotConfirmed(error.to_string())),
            Err(_) => Err(NotConfirmed(
                "the other replicas did not answer in time".to_owned(),
            )),
        }
    }

    /// Who leads.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.clone()
    }

    /// The applied state.
    pub fn projection(&self) -> Projection {
        self.inner.applied.projection.borrow().clone()
    }

    /// The last event that is applied here.
    pub fn applied(&self) -> watch::Receiver<Seq> {
        self.inner.applied.seq.subscribe()
    }

    /// The replica's state.
    pub fn status(&self) -> Status {
        let metrics = self.inner.raft.metrics().borrow().clone();
        let role = match metrics.state {
            ServerState::Leader => Role::Leader,
            ServerState::Follower => Role::Follower,
            ServerState::Candidate => Role::Candidate,
            ServerState::Learner => Role::Learner,
            ServerState::Shutdown => Role::Shutdown,
        };
        Status {
            role,
            term: Term(metrics.current_term),
            leader: metrics.current_leader.and_then(ReplicaId::new),
            last_log_index: metrics.last_log_index.unwrap_or(0),
            applied_index: metrics.last_applied.map_or(0, |applied| applied.index),
            voters: metrics
                .membership_config
                .voter_ids()
                .filter_map(ReplicaId::new)
                .collect(),
        }
    }

    /// Resolves when the log can't go on, with the reason. The process should end then: what is on the disk is
    /// known again only after a restart.
    pub fn fatal(&self) -> impl Future<Output = String> + Send + 'static {
        let mut fatal = self.inner.fatal.clone();
        let mut metrics = self.inner.raft.server_metrics();
        let raft = self.inner.raft.clone();
        let stop = self.inner.stop.clone();
        async move {
            loop {
                if let Some(reason) = fatal.borrow_and_update().as_ref() {
                    return reason.to_string();
                }
                if let Err(error) = &raft.metrics().borrow().running_state
                    && !stop.is_cancelled()
                {
                    return error.to_string();
                }
                tokio::select! {
                    Ok(()) = fatal.changed() => {}
                    changed = metrics.changed() => if changed.is_err() {
                        return "Raft has ended".to_owned();
                    },
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                }
            }
        }
    }

    /// Ends the replica: no more answers to peers, nothing half written. Do it once.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        if let Err(error) = self.inner.raft.shutdown().await {
            tracing::warn!(%error, "Raft did not end well");
        }
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        if let Some(thread) = self.inner.writer.lock().await.take() {
            thread.end(self.inner.storage.writer()).await;
        }
    }
}

pub(crate) fn members(peers: &BTreeMap<ReplicaId, SocketAddr>) -> BTreeMap<u64, BasicNode> {
    peers
        .iter()
        .map(|(id, address)| (id.get(), BasicNode::new(address)))
        .collect()
}
