//! Why an archive can't be written or read.

use std::io;
use std::path::{Path, PathBuf};

use chv_domain::Seq;

/// Why an archive can't be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file system.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another file.
    #[error("{0} is no archive; `chv cluster backup` makes one")]
    NotOne(PathBuf),
    /// Not what was written.
    #[error("{path}: damaged at byte {at}: {what}; nothing of it is used: take another copy")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the part begins that does not check.
        at: u64,
        /// The first event that can't be vouched for.
        seq: Seq,
        /// What is wrong.
        what: String,
    },
    /// Written by another version.
    #[error("{path}: {what}; use the version of the program that wrote it, or a later one")]
    Version {
        /// The file.
        path: PathBuf,
        /// Which.
        what: String,
    },
    /// A record that does not continue the ones before it.
    #[error(
        "the record of event {found} does not continue the chain after event {last}; the source is damaged"
    )]
    Chain {
        /// The record's first event.
        found: Seq,
        /// The last one that was taken.
        last: Seq,
    },
    /// The state is not that of the last record.
    #[error("the state is of event {state}, and the last record is of event {last}")]
    State {
        /// The state's last event.
        state: Seq,
        /// The last record's.
        last: Seq,
    },
    /// A state to begin with that is none.
    #[error("the state that the archive should begin with: {0}")]
    Base(String),
    /// Nothing to archive.
    #[error("there is no event to archive")]
    Empty,
}

impl ArchiveError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}
