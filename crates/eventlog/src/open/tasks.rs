//! The tasks of an open replica: who answers the others, who stands for election, who keeps the index up and who looks
//! after history.

use std::io;
use std::time::Duration;

use openraft::Raft;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::INDEX;
use super::leadership::watch_leadership;
use crate::config::Config;
use crate::elect::{self, Able, Heard};
use crate::files::{Disk, Identity};
use crate::history::{Checkpoints, Fetch, FileSize, History, Pace, Sealer, Upkeep, UpkeepThread, Weight};
use crate::index;
use crate::log::{Elected, Leadership};
use crate::net;
use crate::net::greeting::Greeting;
use crate::net::outdated::Outdated;
use crate::raft::TypeConfig;
use crate::raft::incoming::Incoming;
use crate::raft::log_storage::LogStorage;
use crate::raft::snapshot::Snapshots;
use crate::raft::state_machine::Applied;

/// A state of the past is kept for so many events of sealed history: what has to be folded, at most, to have the state
/// at any of them.
const CHECKPOINT_EVENTS: u64 = 16 << 10;

/// A snapshot is made after this many bytes of log at the latest, of a large state after more: what a restarted replica
/// has to replay.
const SNAPSHOT_BYTES: u64 = 64 << 20;

/// What the tasks work on.
pub(super) struct Parts {
    pub(super) identity: Identity,
    pub(super) raft: Raft<TypeConfig>,
    pub(super) storage: LogStorage,
    pub(super) applied: Applied,
    pub(super) history: History,
    pub(super) peers: net::Peers,
    pub(super) disk: Disk,
    pub(super) heard: Heard,
    pub(super) able: Able,
    /// For how long after it was heard a leader is safe.
    pub(super) lease: Duration,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl Parts {
    /// Answers the other replicas. What is returned is told when one of them writes what this version does not know.
    pub(super) fn answer_replicas(
        &self,
        listener: TcpListener,
        incoming: Incoming,
        greeting: Greeting,
        security: net::Security,
    ) -> watch::Receiver<Option<Outdated>> {
        self.tasks.spawn(security.clone().keep_current(self.stop.clone()));
        let (outdated, told) = watch::channel(None);
        let callers = net::Callers::new(greeting, security, self.applied.clone(), outdated);
        let answering = net::Answering {
            raft: self.raft.clone(),
            log: self.storage.clone(),
            history: self.history.clone(),
            incoming,
            heard: self.heard.clone(),
            able: self.able.clone(),
            lease: self.lease,
            disk: self.disk.clone(),
        };
        self.tasks
            .spawn(net::serve(listener, answering, callers, self.stop.clone()));
        told
    }

    /// Stands for election when nobody leads, and lets another replica lead where this one can't write.
    pub(super) fn stand_for_election(&self) {
        let candidate = elect::Candidate {
            raft: self.raft.clone(),
            peers: self.peers.clone(),
            log: self.storage.clone(),
            heard: self.heard.clone(),
            able: self.able.clone(),
            disk: self.disk.clone(),
            lease: self.lease,
        };
        self.tasks
            .spawn(elect::when_nobody_leads(candidate, self.stop.clone()));
        let (raft, disk, stop) = (self.raft.clone(), self.disk.clone(), self.stop.clone());
        self.tasks.spawn(elect::silent_while_read_only(raft, disk, stop));
    }

    /// Opens the index and keeps it up with the log.
    pub(super) fn keep_index(&self, config: &Config) -> watch::Receiver<index::Reached> {
        let (reached, told) = watch::channel(index::Reached::default());
        let follower = index::Follower {
            path: config.dir.join(INDEX),
            sources: index::Sources {
                log: self.storage.clone(),
                history: self.history.clone(),
                applied: self.applied.clone(),
            },
            reached,
            verify_after: config.verify_index_after,
            disk: self.disk.clone(),
        };
        self.tasks.spawn(follower.run(self.stop.clone()));
        told
    }

    /// Seals history, fetches what is missing of it, and makes snapshots.
    pub(super) fn look_after_history(
        &self,
        config: &Config,
        snapshots: Snapshots,
    ) -> io::Result<UpkeepThread> {
        let (missing, missing_told) = watch::channel(None);
        let fetch = Fetch {
            history: self.history.clone(),
            applied: self.applied.clone(),
            peers: self.peers.clone(),
            missing: missing_told,
            disk: self.disk.clone(),
        };
        self.tasks.spawn(fetch.run(self.stop.clone()));
        let full = FileSize {
            events: config.sealing.file_events,
            bytes: config.sealing.file_bytes,
        };
        let begins = self.applied.base.borrow().seq;
        let weight = Weight::of(&self.applied.projection.borrow());
        let upkeep = Upkeep {
            sealer: Sealer::new(self.history.clone(), self.storage.clone(), full),
            checkpoints: Checkpoints::new(
                self.history.clone(),
                CHECKPOINT_EVENTS,
                snapshots.last_written().clone(),
            ),
            log: self.storage.clone(),
            snapshots,
            applied: self.applied.clone(),
            raft: self.raft.clone(),
            pace: Pace::new(config.snapshot_every, SNAPSHOT_BYTES, begins, weight),
            keep_log: config.sealing.keep_log,
            missing,
            disk: self.disk.clone(),
        };
        upkeep.start(self.tasks.token())
    }

    /// Tells who leads.
    pub(super) fn tell_who_leads(&self) -> (watch::Receiver<Leadership>, Elected) {
        let elected = Elected::default();
        let (leads, leadership) = watch::channel(Leadership::Follower { leader: None });
        self.tasks.spawn(watch_leadership(
            self.raft.clone(),
            self.identity.replica,
            self.applied.entry.subscribe(),
            self.heard.leader(),
            leads,
            elected.clone(),
            self.stop.clone(),
        ));
        (leadership, elected)
    }
}
