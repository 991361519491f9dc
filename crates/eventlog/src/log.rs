//! The event log as the scheduler sees it: who leads, what is applied, how it ends. Appending is in [`crate::append`],
//! reading in [`crate::read`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chv_domain::{ClusterId, Introduction, Projection, ReplicaId, Seq, Term};
use openraft::{BasicNode, Raft, ServerState};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::confirm::{Confirm, NotConfirmed};
use crate::disks::{self, NoDisk};
use crate::elect::Able;
use crate::files::{Disk, Identity};
use crate::history::{History, Sealed, SealedFile, UpkeepThread};
use crate::index::Reached;
use crate::net::Peers;
use crate::net::greeting::Unwelcome;
use crate::net::outdated::Outdated;
use crate::past::Known;
use crate::raft::foreseen::Foreseen;
use crate::raft::log_storage::LogStorage;
use crate::raft::state_machine::Applied;
use crate::raft::writer::{Fatal, WriterThread};
use crate::raft::{TypeConfig, Vote};
use crate::status::{Role, Status};
use crate::timings::Timings;

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

pub(crate) type Elected = Arc<std::sync::Mutex<Option<(u64, std::time::Instant)>>>;

/// A handle to the log; cheap to clone.
#[derive(Clone)]
pub struct EventLog {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) identity: Identity,
    pub(crate) raft: Raft<TypeConfig>,
    pub(crate) storage: LogStorage,
    pub(crate) history: History,
    pub(crate) applied: Applied,
    pub(crate) foreseen: Foreseen,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) fatal: watch::Receiver<Fatal>,
    pub(crate) outdated: watch::Receiver<Option<Outdated>>,
    pub(crate) unwelcome: watch::Receiver<Option<Unwelcome>>,
    pub(crate) index: watch::Receiver<Reached>,
    pub(crate) past: Known,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) writer: Mutex<Option<WriterThread>>,
    pub(crate) confirm: Confirm,
    pub(crate) upkeep: Mutex<Option<UpkeepThread>>,
    pub(crate) peers: Peers,
    pub(crate) able: Able,
    pub(crate) lease: Duration,
    /// The term that this replica was elected in last, and when.
    pub(crate) elected: Elected,
    pub(crate) disk: Disk,
    pub(crate) heard: watch::Receiver<Option<Vote>>,
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

    /// The sealed files here, oldest first.
    pub fn sealed_files(&self) -> Vec<SealedFile> {
        let files = self.inner.history.files();
        let told = |file: &Sealed| SealedFile {
            last: file.last,
            to: file.to,
            bytes: file.size,
        };
        files.iter().map(told).collect()
    }

    /// Whether enough disks take more of the log, as far as is known: this replica's, and a majority's. While they do not,
    /// nothing is appended but what [makes room](Batch::makes_room).
    pub fn disks(&self) -> Result<(), NoDisk> {
        let own = self.inner.identity.replica;
        let mut troubles = self.inner.peers.troubles();
        troubles.extend(self.inner.disk.check().err().map(|trouble| (own, trouble)));
        if troubles.is_empty() {
            return Ok(());
        }
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow();
        let membership = metrics.membership_config.membership();
        disks::check(own, troubles, membership.get_joint_config())
    }

    /// Whether this replica's disk takes no more of the log, and those of a majority of the others do that answer.
    pub fn others_have_room(&self) -> bool {
        let own = self.inner.identity.replica;
        if self.inner.disk.check().is_ok() {
            return false;
        }
        let (answering, troubles) = (self.answering(), self.inner.peers.troubles());
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow();
        let membership = metrics.membership_config.membership();
        let well = |voter: &&u64| {
            ReplicaId::new(**voter).is_some_and(|voter| {
                voter != own && answering.contains(&voter) && !troubles.contains_key(&voter)
            })
        };
        let most = |voters: &BTreeSet<u64>| 2 * voters.iter().filter(well).count() > voters.len();
        membership.get_joint_config().iter().all(most)
    }

    /// Resolves when this replica's disk can't be written any more.
    pub async fn turned_read_only(&self) {
        self.inner.disk.turned_read_only().await;
    }

    /// Resolves when this replica's disk can be written, and every entry that its log has then is applied here, or was
    /// replaced.
    pub async fn writable_and_settled(&self) {
        loop {
            self.inner.disk.turned_writable().await;
            self.settled().await;
            if self.inner.disk.writable().is_ok() {
                return;
            }
        }
    }

    /// Makes sure that this replica leads, and that its projection has all that was ever acknowledged. Callers
    /// that wait at the same time share one round of asking the others.
    pub async fn confirm_leadership(&self) -> Result<(), NotConfirmed> {
        if self.leads_alone() {
            // Nobody else can be elected, and what this replica acknowledged it has applied. Raft would wait for what is
            // under way besides, which nobody was told of, and which a disk may keep from ever being done.
            return Ok(());
        }
        if let Err(trouble) = self.inner.disk.writable() {
            // Asking the others would keep them from electing one that can write.
            return Err(NotConfirmed::of(trouble));
        }
        self.inner.confirm.confirm(&self.inner.raft).await
    }

    /// Whether this replica leads and is the only one that votes.
    fn leads_alone(&self) -> bool {
        let ready = matches!(
            *self.inner.leadership.borrow(),
            Leadership::Leader { ready: true, .. }
        );
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow();
        let mut voters = metrics.membership_config.voter_ids();
        let own = self.inner.identity.replica.get();
        ready && metrics.state == ServerState::Leader && voters.next() == Some(own) && voters.next().is_none()
    }

    /// The other replicas that answered this one within the last seconds. Only a leader asks all of them.
    pub fn answering(&self) -> BTreeSet<ReplicaId> {
        self.inner.peers.answering()
    }

    /// Says whether this replica would be of use as a leader. One that would not declines to take over, and leaves
    /// it to the others to stand for election first.
    pub fn able_to_lead(&self, able: bool) {
        self.inner.able.set(able);
    }

    /// Resolves when every entry that this replica's log has now is applied here, or was replaced.
    pub async fn settled(&self) {
        let last = self.inner.raft.metrics().borrow().last_log_index.unwrap_or(0);
        let mut applied = self.inner.applied.entry.subscribe();
        // The sender lives as long as the log does.
        let _ = applied
            .wait_for(|applied| applied.map_or(0, |applied| applied.index) >= last)
            .await;
    }

    /// Where the time of the commits goes that this replica leads to.
    pub fn timings(&self) -> &Timings {
        &self.inner.storage.stopwatch().timings
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
        let later = self.inner.heard.borrow().filter(|heard| *heard > metrics.vote);
        let (role, term, leader) = match later {
            None => (role, metrics.current_term, metrics.current_leader),
            // Raft could not be told of it yet.
            Some(later) => (
                Role::Follower,
                later.leader_id.term,
                Some(later.leader_id.node_id),
            ),
        };
        Status {
            role,
            term: Term(term),
            leader: leader.and_then(ReplicaId::new),
            last_log_index: metrics.last_log_index.unwrap_or(0),
            applied_index: metrics.last_applied.map_or(0, |applied| applied.index),
            voters: metrics
                .membership_config
                .voter_ids()
                .filter_map(ReplicaId::new)
                .collect(),
            index: self.inner.index.borrow().health,
        }
    }

    /// Resolves when another replica writes what this version does not know. The process should end then; a version
    /// that knows it goes on with the same data.
    pub fn outdated(&self) -> impl Future<Output = Outdated> + Send + 'static {
        let mut outdated = self.inner.outdated.clone();
        async move {
            if let Ok(told) = outdated.wait_for(Option::is_some).await
                && let Some(outdated) = told.as_ref()
            {
                return outdated.clone();
            }
            // The log has ended, and nothing will be told any more.
            std::future::pending().await
        }
    }

    /// Resolves when the other replicas talk with this one no more, for its data directory or its version. The process
    /// should end then.
    pub fn unwelcome(&self) -> impl Future<Output = Unwelcome> + Send + 'static {
        let mut unwelcome = self.inner.unwelcome.clone();
        async move {
            if let Ok(told) = unwelcome.wait_for(Option::is_some).await
                && let Some(why) = told.as_ref()
            {
                return why.clone();
            }
            // The log has ended, and nothing will be told any more.
            std::future::pending().await
        }
    }

    /// What the replicas said of themselves when they were last talked with, this one among them.
    pub fn introductions(&self) -> BTreeMap<ReplicaId, Introduction> {
        self.inner.peers.introductions()
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

    /// Ends the replica: no more answers to peers, nothing half written. Do it once. The directory is free as soon as
    /// the last clone of this is dropped too.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        drop(self.inner.upkeep.lock().await.take());
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
