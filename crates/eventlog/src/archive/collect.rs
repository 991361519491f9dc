//! An archive out of the data directory of a stopped replica: its sealed history, then its log.
//!
//! The log's last entries may not have been committed; they are taken along, since what was acknowledged is among them
//! wherever this replica has it.

use std::path::Path;

use chv_domain::{Record, Seq};

use super::{ArchiveError, ArchiveWriter, Archived};
use crate::offline::{ClosedDir, Finding, Progress, walk};

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
            failed = writer.push(record).err();
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
