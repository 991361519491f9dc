//! What checking a directory or an archive found.

use chv_domain::{ClusterId, RecordHash, ReplicaId, Seq};
use serde::Serialize;

use super::dir::ClosedDir;
use super::finding::Finding;
use super::walk::walk;
use crate::archive::Archive;

/// How far long work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is done, in files or in bytes.
    pub done: u64,
    /// What there is.
    pub total: u64,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// The cluster; `None` of an archive whose end was not reached.
    pub cluster: Option<ClusterId>,
    /// The replica whose directory it is; `None` of an archive.
    pub replica: Option<ReplicaId>,
    /// The first event whose record was checked; `None` where there is none.
    pub first_seq: Option<Seq>,
    /// The event of the state that folding began with; `None` where it began with the first event, or did not begin.
    pub base_seq: Option<Seq>,
    /// The last one: up to here everything is as it was written.
    pub last_seq: Seq,
    /// The hash of its record. Equal on every replica that holds that event.
    #[serde(serialize_with = "super::finding::as_text")]
    pub last_hash: RecordHash,
    /// How many log entries were checked.
    pub entries: u64,
    /// How many records, of the log or of an archive.
    pub records: u64,
    /// How many in sealed files; those that the log holds too are among both.
    pub sealed: u64,
    /// Batches that every replica drops: decided by a leader that was none any more.
    pub dropped: u64,
    /// Snapshots whose state the fold of the records came to, or an archive's state.
    pub snapshots_compared: u64,
    /// Snapshots that the log does not reach, and whose checksum alone speaks for them.
    pub snapshots_alone: u64,
    /// Bytes at the log's end of a write that was never flushed, so never acknowledged. They are cut off when the
    /// replica starts; nothing is wrong with that.
    pub torn_bytes: u64,
    /// What is wrong; empty when nothing is.
    pub findings: Vec<Finding>,
}

impl Verification {
    /// What checking an archive found.
    pub(crate) fn of_archive(
        archive: Option<&Archive>,
        first_seq: Option<Seq>,
        (last_seq, last_hash): (Seq, RecordHash),
        records: u64,
        findings: Vec<Finding>,
    ) -> Self {
        Self {
            cluster: archive.map(|archive| archive.cluster),
            replica: None,
            first_seq,
            base_seq: archive.and_then(|archive| Some(archive.base.as_ref()?.seq())),
            last_seq,
            last_hash,
            entries: 0,
            records,
            sealed: 0,
            dropped: 0,
            snapshots_compared: archive.map_or(0, |archive| u64::from(archive.folded)),
            snapshots_alone: archive.map_or(0, |archive| u64::from(!archive.folded)),
            torn_bytes: 0,
            findings,
        }
    }

    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Checks `dir`. Blocks for as long as reading all of it takes.
pub fn verify(dir: &ClosedDir, progress: &mut dyn FnMut(Progress)) -> Verification {
    walk(dir, progress, &mut |_| {}).0
}
