//! The sealed files of a directory, oldest first: each checked whole, and that they continue each other.

use std::fs::File;
use std::path::{Path, PathBuf};

use chv_domain::{ClusterId, Record, RecordHash, Seq};

use super::finding::{Finding, FindingKind};
use crate::history::format::{FormatError, verify};

/// Gives `each` every sealed record in order, and returns the last one's event and hash.
pub(super) fn check(
    dir: &Path,
    cluster: ClusterId,
    findings: &mut Vec<Finding>,
    each: &mut dyn FnMut(&Path, &Record) -> Result<(), Finding>,
) -> Option<(Seq, RecordHash)> {
    let mut end = None;
    for path in files(dir, findings) {
        match one(&path, cluster, end, each) {
            Ok(now) => end = Some(now),
            Err(finding) => findings.push(finding),
        }
    }
    end
}

fn files(dir: &Path, findings: &mut Vec<Finding>) -> Vec<PathBuf> {
    let list = || -> std::io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|suffix| suffix == "history") {
                files.push(path);
            }
        }
        files.sort_unstable();
        Ok(files)
    };
    match list() {
        Ok(files) => files,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            findings.push(Finding::new(FindingKind::Unreadable, dir, error.to_string()));
            Vec::new()
        }
    }
}

fn one(
    path: &Path,
    cluster: ClusterId,
    end: Option<(Seq, RecordHash)>,
    each: &mut dyn FnMut(&Path, &Record) -> Result<(), Finding>,
) -> Result<(Seq, RecordHash), Finding> {
    let next = end.map(|(seq, _)| seq.next());
    let wrong = |kind, what: String| Finding::new(kind, path, what).before(next);
    let file = File::open(path).map_err(|error| wrong(FindingKind::Unreadable, error.to_string()))?;
    let mut told = Ok(());
    let layout = verify(&file, |records| {
        for record in &records {
            // Replicas cut files at different places, so two may overlap; where they do, they agree.
            let overlaps = end.filter(|(seq, _)| record.last() <= *seq);
            let differs = overlaps.is_some_and(|(seq, hash)| record.last() == seq && record.hash() != hash)
                || end.is_some_and(|(seq, hash)| record.first == seq.next() && record.prev != hash);
            if told.is_ok() && differs {
                told = Err(wrong(
                    FindingKind::Contradiction,
                    format!(
                        "the record of event {} is not what the file before it holds",
                        record.first
                    ),
                ));
            }
            if told.is_ok() && overlaps.is_none() {
                told = each(path, record);
            }
        }
    })
    .map_err(|error| match error {
        FormatError::Damaged { at, what } => Finding {
            offset: Some(at),
            ..wrong(FindingKind::Damaged, what)
        },
        FormatError::Chain { at, seq, .. } => Finding {
            offset: Some(at),
            seq: Some(seq),
            ..wrong(FindingKind::Contradiction, error.to_string())
        },
        FormatError::Version(_) => wrong(FindingKind::Version, error.to_string()),
        FormatError::Io { .. } => wrong(FindingKind::Unreadable, error.to_string()),
    })?;
    told?;
    if layout.header.cluster != cluster {
        let what = format!("it belongs to cluster {}", layout.header.cluster);
        return Err(wrong(FindingKind::Contradiction, what));
    }
    let last = (layout.footer.last, layout.footer.hash);
    Ok(end.filter(|(seq, _)| *seq > last.0).unwrap_or(last))
}
