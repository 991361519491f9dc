//! What the parts of a data directory have to say together. Each may read well, and yet be of another time than the
//! others: a file that was put back from an older copy, or one that is missing.

use std::path::{Path, PathBuf};

use super::log_storage::{PURGED, VOTE};
use super::{LogId, RaftError, Vote, cant_read, decode};
use crate::files::Dir;
use crate::segment::SegmentReader;

/// Where the log begins and ends, and the vote that goes with it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ends {
    /// The last entry that was purged.
    pub(crate) purged: Option<LogId>,
    /// The last entry.
    pub(crate) last: Option<LogId>,
    /// The vote.
    pub(crate) vote: Option<Vote>,
}

impl Ends {
    /// Of the log in `dir`, whose segments `reader` reads. Blocks.
    pub(crate) fn read(dir: &Dir, reader: &SegmentReader) -> Result<Self, RaftError> {
        let purged: Option<LogId> = dir.read(PURGED).map_err(cant_read)?;
        let bounds = reader.bounds();
        let last = match bounds.is_empty() {
            true => None,
            false => entry_id(reader, bounds.end - 1)?,
        };
        Ok(Self {
            purged,
            last: last.or(purged),
            vote: dir.read(VOTE).map_err(cant_read)?,
        })
    }
}

/// The id of the entry at `index`, if it is there. Blocks.
pub(super) fn entry_id(reader: &SegmentReader, index: u64) -> Result<Option<LogId>, RaftError> {
    let found = reader.read(index..index + 1, usize::MAX).map_err(cant_read)?;
    let entry: Option<super::Entry> = found.first().map(|entry| decode(&entry.payload)).transpose()?;
    Ok(entry.map(|entry| entry.log_id))
}

/// The parts of a data directory don't fit together.
#[derive(Debug, thiserror::Error)]
pub enum Misfit {
    /// What was purged from the log is in no snapshot.
    #[error(
        "{path}: the log before entry {begins} was purged, and no snapshot that reads holds what was: restore the \
         directory from a backup, or replace this replica; without its beginning the log makes no state"
    )]
    NoSnapshot {
        /// The directory.
        path: PathBuf,
        /// The first entry that is there.
        begins: u64,
    },
    /// The vote is from before the log's end.
    #[error(
        "{path}: the vote is older than the log's last entry, of term {term}: it is missing, or an older file was \
         put in its place. This replica could vote twice, so it does not start: replace it"
    )]
    OldVote {
        /// The directory.
        path: PathBuf,
        /// The term of the last entry.
        term: u64,
    },
}

/// Whether the parts of the directory at `path` fit together; `applied` is the last entry in the newest snapshot.
pub(crate) fn check(path: &Path, ends: &Ends, applied: Option<LogId>) -> Result<(), Misfit> {
    if let Some(purged) = ends.purged.filter(|purged| applied < Some(*purged)) {
        return Err(Misfit::NoSnapshot {
            path: path.to_owned(),
            begins: purged.index + 1,
        });
    }
    let voted = ends
        .vote
        .map(|vote| (vote.leader_id.term, vote.leader_id.node_id));
    match ends
        .last
        .map(|last| (last.leader_id.term, last.leader_id.node_id))
    {
        // The first entry of all is nobody's: it was there before the first vote.
        Some((term, leader)) if term > 0 && voted < Some((term, leader)) => Err(Misfit::OldVote {
            path: path.to_owned(),
            term,
        }),
        Some(_) | None => Ok(()),
    }
}
