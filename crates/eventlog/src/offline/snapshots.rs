//! The snapshots of a directory, oldest first.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::finding::{Finding, FindingKind, kind_of};
use crate::raft::snapshot::{State, file_names};
use crate::raft::snapshot_file::{self, SnapshotError};

/// A snapshot that reads.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) file: PathBuf,
    pub(super) bytes: u64,
    pub(super) state: State,
}

impl Held {
    /// The entry that it goes up to.
    pub(super) fn entry(&self) -> u64 {
        self.state.applied.map_or(0, |applied| applied.index)
    }
}

/// Reads all that read; the others are told in `findings`.
pub(super) fn read(dir: &Path, findings: &mut Vec<Finding>) -> Vec<Held> {
    let mut held = Vec::new();
    let names = match file_names(dir) {
        Ok(names) => names,
        // It is made when the replica runs for the first time.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return held,
        // It is made when the replica runs for the first time.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return held,
        Err(error) => {
            findings.push(Finding::new(FindingKind::Unreadable, dir, error.to_string()));
            return held;
        }
    };
    for name in names {
        let file = dir.join(&name);
        let read = File::open(&file)
            .map_err(SnapshotError::from)
            .and_then(|mut opened| {
                let bytes = opened.metadata()?.len();
                Ok((bytes, snapshot_file::read(&mut opened)?))
            });
        match read {
            Ok((bytes, state)) => held.push(Held { file, bytes, state }),
            Err(error) => findings.push(Finding::new(kind(&error), &file, error.to_string())),
        }
    }
    held
}

pub(super) fn kind(error: &SnapshotError) -> FindingKind {
    match error {
        SnapshotError::Io(_) => FindingKind::Unreadable,
        SnapshotError::Damaged(_) => FindingKind::Damaged,
        SnapshotError::Version(_) => FindingKind::Version,
        SnapshotError::Stored(error) => kind_of(error),
    }
}
