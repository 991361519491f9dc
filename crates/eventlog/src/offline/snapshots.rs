//! The snapshots of a directory, oldest first.

use std::path::{Path, PathBuf};

use super::finding::{Finding, FindingKind};
use crate::files::Dir;
use crate::raft::snapshot::{State, file_names};

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
    let opened = match Dir::existing(dir) {
        Ok(opened) => opened,
        // It is made when the replica runs for the first time.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return held,
        Err(error) => {
            findings.push(Finding::new(FindingKind::Unreadable, dir, error.to_string()));
            return held;
        }
    };
    let names = match file_names(dir) {
        Ok(names) => names,
        Err(error) => {
            findings.push(Finding::new(FindingKind::Unreadable, dir, error.to_string()));
            return held;
        }
    };
    for name in names {
        let file = dir.join(&name);
        let bytes = std::fs::metadata(&file).map_or(0, |file| file.len());
        match opened.read::<State>(&name) {
            Ok(Some(state)) => held.push(Held { file, bytes, state }),
            Ok(None) => {}
            Err(error) => findings.push(error.into()),
        }
    }
    held
}
