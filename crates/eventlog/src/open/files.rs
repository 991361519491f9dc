//! Opening what is on the disk: whose it is, the log, the vote, the snapshots and history.

use std::path::Path;
use std::sync::Arc;

use chv_domain::ReplicaId;
use tokio::sync::watch;

use super::OpenError;
use crate::files::{Dir, Identity};
use crate::history::History;
use crate::raft::fit::{self, Ends};
use crate::raft::incoming::Incoming;
use crate::raft::log_storage::LogStorage;
use crate::raft::overtaken;
use crate::raft::snapshot::Snapshots;
use crate::raft::state_machine::StateMachine;
use crate::raft::writer::{Fatal, Writer, WriterThread};
use crate::segment::SegmentStore;

pub(crate) const INDEX: &str = "index";
pub(crate) const HISTORY: &str = "history";
pub(crate) const SEGMENTS: &str = "segments";
pub(crate) const SNAPSHOTS: &str = "snapshots";

/// All that is on the disk but the index, which takes longest and only searches need.
pub(super) struct Files {
    pub(super) log: LogFiles,
    pub(super) history: History,
    pub(super) incoming: Incoming,
}

/// The log, the vote and the snapshots.
pub(crate) struct LogFiles {
    pub(crate) storage: LogStorage,
    pub(crate) writer: WriterThread,
    pub(crate) machine: StateMachine,
}

/// Takes the data directory at `path`, and says whose it is. No other process may have it.
pub(super) fn claim(path: &Path) -> Result<(Arc<Dir>, Identity), OpenError> {
    let dir = Dir::open(path).map_err(failed)?;
    let identity = Identity::read(&dir)?;
    dir.lock().map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => OpenError::InUse(path.display().to_string()),
        _ => failed(error),
    })?;
    match dir.is_read_only() {
        true => Err(OpenError::ReadOnly(path.display().to_string())),
        false => Ok((Arc::new(dir), identity)),
    }
}

/// Opens the directory of the replica that `identity` tells.
pub(super) async fn open(
    dir: Arc<Dir>,
    identity: Identity,
    segment_size: u64,
    fatal: watch::Sender<Fatal>,
) -> Result<Files, OpenError> {
    let opening = tokio::task::spawn_blocking(move || {
        let history = dir.path().join(HISTORY);
        let snapshots = dir.below(SNAPSHOTS).map_err(failed)?;
        let log = log_files(dir, identity.replica, segment_size, fatal)?;
        let history = History::open(&history, identity.cluster).map_err(failed)?;
        let incoming = Incoming::new(Arc::new(snapshots));
        Ok(Files {
            log,
            history,
            incoming,
        })
    });
    opening.await.map_err(failed)?
}

/// Opens the log, the vote and the snapshots, and makes sure that they fit together. Blocks.
pub(crate) fn log_files(
    dir: Arc<Dir>,
    replica: ReplicaId,
    segment_size: u64,
    fatal: watch::Sender<Fatal>,
) -> Result<LogFiles, OpenError> {
    // A vote that a killed process renamed into place counts from now on, so it has to last.
    dir.sync().map_err(failed)?;
    let first = LogStorage::first(&dir).map_err(failed)?;
    let segments = Arc::new(dir.below(SEGMENTS).map_err(failed)?);
    let mut store = SegmentStore::open(segments, segment_size, first).map_err(failed)?;
    let reader = store.reader();
    let snapshots = Snapshots::new(Arc::new(dir.below(SNAPSHOTS).map_err(failed)?));
    let state = snapshots.newest().map_err(failed)?.unwrap_or_default();
    let ends = Ends::read(&dir, &reader).map_err(failed)?;
    fit::check(dir.path(), &ends, state.applied)?;
    overtaken::purge(&dir, &mut store, ends.purged, state.applied).map_err(failed)?;
    let (queue, writer) = Writer::start(store, fatal).map_err(failed)?;
    let storage = LogStorage::open(Arc::clone(&dir), replica, queue, reader).map_err(failed)?;
    let machine = StateMachine::new(state, snapshots, Some(storage.clone()));
    Ok(LogFiles {
        storage,
        writer,
        machine,
    })
}

pub(super) fn failed(error: impl std::fmt::Display) -> OpenError {
    OpenError::Log(error.to_string())
}
