//! Checks an archive, and tells what was found as it is told of a directory.

use std::path::Path;

use chv_domain::{RecordHash, Seq};

use super::{ArchiveError, read};
use crate::offline::{Finding, FindingKind, Progress, Verification};

/// As [`read`](super::read), with what is wrong told as a finding.
pub fn verify(path: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Verification, ArchiveError> {
    let mut seen = (Seq::ZERO, RecordHash::ZERO, None, 0);
    let checked = read(path, progress, &mut |record| {
        seen = (
            record.last(),
            record.hash(),
            seen.2.or(Some(record.first)),
            seen.3 + 1,
        );
        Ok(())
    });
    let (last_seq, last_hash, first_seq, records) = seen;
    let (archive, findings) = match checked {
        Ok(archive) => (Some(archive), Vec::new()),
        Err(ArchiveError::Damaged { path, at, seq, what }) => (
            None,
            vec![Finding::in_archive(FindingKind::Damaged, &path, at, seq, what)],
        ),
        Err(error) => return Err(error),
    };
    let (first, last) = (first_seq, (last_seq, last_hash));
    let found = Verification::of_archive(archive.as_ref(), first, last, records, findings);
    Ok(found)
}
