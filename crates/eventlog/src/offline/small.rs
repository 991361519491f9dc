//! The small files of a directory: the vote, what was purged, and how far the log was known to be committed.

use super::finding::Finding;
use crate::files::{CommittedHint, Dir};
use crate::raft::log_storage::{PURGED, VOTE};
use crate::raft::{LogId, Vote};

/// What they say.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SmallFiles {
    pub(super) vote: Option<Vote>,
    /// The last entry that was purged.
    pub(super) purged: Option<LogId>,
    /// A hint: it may be too old.
    pub(super) committed: Option<LogId>,
}

impl SmallFiles {
    /// Reads them; what does not read is told in `findings`.
    pub(super) fn read(dir: &Dir, findings: &mut Vec<Finding>) -> Self {
        Self {
            vote: told(dir.read(VOTE), findings),
            purged: told(dir.read(PURGED), findings),
            // A hint that does not read is as good as none.
            committed: CommittedHint::last(dir).ok().flatten(),
        }
    }

    /// The first entry that the log still has, or will have.
    pub(super) fn first(&self) -> u64 {
        self.purged.map_or(0, |purged| purged.index + 1)
    }
}

fn told<T>(read: Result<Option<T>, crate::files::FileError>, findings: &mut Vec<Finding>) -> Option<T> {
    read.map_err(|error| findings.push(error.into())).ok().flatten()
}
