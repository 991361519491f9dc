//! An archive out of the data directory of a stopped replica: its sealed history, then its log.
//!
//! The log's last entries may not have been committed; they are taken along, since what was acknowledged is among them
//! wherever this replica has it. Where the first events are forgotten, the oldest state of the past that the directory has
//! comes before them.

use std::path::Path;

use chv_domain::{Record, Seq};

use super::{ArchiveError, ArchiveWriter, Archived};
use crate::history::checkpoint;
use crate::offline::{ClosedDir, Finding, Progress, walk};
use crate::open::HISTORY;

/// Why a directory was not archived.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// It is not as it was written; see the finding.
    #[error("{}: {}; `chv log verify` says more", .0.file.display(), .0.what)]
    Unsound(Box<Finding>),
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

/// Archives what `dir` holds in the file `to`, checking all of it. Blocks.
pub fn collect(
    dir: &ClosedDir,
    to: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Archived, CollectError> {
    let mut writer = ArchiveWriter::create(to, dir.cluster())?;
    let mut failed = None;
    let (verification, state) = walk(dir, progress, &mut |record: &Record| {
        // History and log overlap.
        let known = writer.last() > Seq::ZERO && record.last() <= writer.last();
        if failed.is_none() && !known {
            let begins = writer.last() == Seq::ZERO && record.first > Seq(1);
            let based = if begins {
                base(dir, record, &mut writer)
            } else {
                Ok(())
            };
            failed = based.and_then(|()| writer.push(record)).err();
        }
    });
    if let Some(finding) = verification.findings.into_iter().next() {
        return Err(CollectError::Unsound(Box::new(finding)));
    }
    if let Some(error) = failed {
        return Err(error.into());
    }
    Ok(writer.finish(&state)?)
}

/// Begins the archive with the state that the records from `first` on are folded into, where the directory has one.
fn base(dir: &ClosedDir, first: &Record, writer: &mut ArchiveWriter) -> Result<(), ArchiveError> {
    let history = dir.path().join(HISTORY);
    let before = Seq(first.first.0 - 1);
    let found = checkpoint::oldest_from(&history, before).map_err(ArchiveError::io(&history))?;
    match found {
        Some((_, checkpoint)) => writer.base(&checkpoint).map(drop),
        None => Ok(()),
    }
}
