//! What a check found wrong, and where.

use std::path::{Path, PathBuf};

use chv_domain::Seq;
use chv_domain::stored::StoredError;
use serde::Serialize;

use crate::files::FileError;
use crate::open::SNAPSHOTS;
use crate::raft::fit::Misfit;
use crate::raft::log_storage::VOTE;
use crate::segment::SegmentError;

/// What kind of wrong it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// What is there is not what was written.
    Damaged,
    /// Something that has to be there is not.
    Missing,
    /// Each part reads, but they don't fit together.
    Contradiction,
    /// Another version wrote it, which this program does not know.
    Version,
    /// It can't be read.
    Unreadable,
}

/// Something that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What kind of wrong it is.
    pub kind: FindingKind,
    /// The file.
    pub file: PathBuf,
    /// Where in the file, in bytes from its beginning.
    pub offset: Option<u64>,
    /// The log entry.
    pub entry: Option<u64>,
    /// The first event that can't be vouched for.
    pub seq: Option<Seq>,
    /// What is wrong.
    pub what: String,
}

impl Finding {
    pub(super) fn new(kind: FindingKind, file: &Path, what: impl Into<String>) -> Self {
        Self {
            kind,
            file: file.to_owned(),
            offset: None,
            entry: None,
            seq: None,
            what: what.into(),
        }
    }

    /// In an archive, at a part.
    pub(crate) fn in_archive(kind: FindingKind, file: &Path, at: u64, seq: Seq, what: String) -> Self {
        Self {
            offset: Some(at),
            seq: Some(seq),
            ..Self::new(kind, file, what)
        }
    }

    pub(super) fn at(mut self, offset: u64, entry: u64) -> Self {
        self.offset = Some(offset);
        self.entry = Some(entry);
        self
    }

    pub(super) fn before(mut self, seq: Option<Seq>) -> Self {
        self.seq = seq;
        self
    }
}

/// As people write it, instead of as bytes.
pub(crate) fn as_text<S: serde::Serializer>(
    value: &impl std::fmt::Display,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

pub(super) fn kind_of(error: &StoredError) -> FindingKind {
    match error {
        StoredError::Version { .. } => FindingKind::Version,
        // The checksum held: this was written so, by a program that knew more.
        StoredError::Body(_) => FindingKind::Version,
        _ => FindingKind::Damaged,
    }
}

impl From<FileError> for Finding {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Io { path, source } => Self::new(FindingKind::Unreadable, &path, source.to_string()),
            FileError::Damaged { path, source } => Self::new(kind_of(&source), &path, source.to_string()),
        }
    }
}

impl From<Misfit> for Finding {
    fn from(error: Misfit) -> Self {
        match &error {
            Misfit::NoSnapshot { path, .. } => {
                Self::new(FindingKind::Missing, &path.join(SNAPSHOTS), error.to_string())
            }
            Misfit::OldVote { path, .. } => {
                Self::new(FindingKind::Contradiction, &path.join(VOTE), error.to_string())
            }
        }
    }
}

impl From<SegmentError> for Finding {
    fn from(error: SegmentError) -> Self {
        match error {
            SegmentError::Damaged { path, offset, what } => Self {
                offset: Some(offset as u64),
                ..Self::new(FindingKind::Damaged, &path, what)
            },
            SegmentError::Version { path, what } => Self::new(FindingKind::Version, &path, what),
            SegmentError::Gap { path, expected } => {
                let what =
                    format!("it should begin with entry {expected}: a segment is missing or was renamed");
                Self::new(FindingKind::Missing, &path, what)
            }
            SegmentError::Io { path, source } => {
                Self::new(FindingKind::Unreadable, &path, source.to_string())
            }
        }
    }
}
