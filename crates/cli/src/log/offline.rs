//! What the verbs share that look at files: how their faults end the program, and how findings are shown.

use std::io::{self, Write};

use chv_eventlog::IdentityError;
use chv_eventlog::archive::{ArchiveError, CollectError};
use chv_eventlog::offline::{Finding, FindingKind, OfflineError, Progress};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::printable;

impl From<OfflineError> for Failure {
    fn from(error: OfflineError) -> Self {
        let exit = match &error {
            OfflineError::Identity(IdentityError::Missing(_)) => Exit::NotFound,
            OfflineError::Identity(IdentityError::Layout { .. }) => Exit::Internal,
            OfflineError::InUse(_) => Exit::Rejected,
            error if error.is_damage() => Exit::Damaged,
            _ => Exit::Usage,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Self {
        let exit = match &error {
            ArchiveError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => Exit::NotFound,
            ArchiveError::Io { .. } | ArchiveError::NotOne(_) => Exit::Usage,
            ArchiveError::Damaged { .. }
            | ArchiveError::Chain { .. }
            | ArchiveError::Base(_)
            | ArchiveError::State { .. } => Exit::Damaged,
            ArchiveError::Version { .. } => Exit::Internal,
            ArchiveError::Empty => Exit::Rejected,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<CollectError> for Failure {
    fn from(error: CollectError) -> Self {
        match error {
            CollectError::Archive(error) => error.into(),
            unsound @ CollectError::Unsound(_) => Self::new(Exit::Damaged, unsound.to_string()),
        }
    }
}

/// Shows how far long work is, in tens, so that a log file does not get a line for each step.
pub(super) fn percent<'a>(line: &'a mut crate::wait::Progress, what: &'a str) -> impl FnMut(Progress) + 'a {
    move |progress| {
        if let Some(percent) = (progress.done * 100).checked_div(progress.total) {
            line.show(&format!("{what}: {}%", percent / 10 * 10));
        }
    }
}

/// Work on files, off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| {
        Failure::new(
            Exit::Internal,
            format!("the work on the files did not end: {error}"),
        )
    })
}

/// Shows what is wrong, a paragraph each.
pub(super) fn show(findings: &[Finding], to: &mut impl Write) -> io::Result<()> {
    for finding in findings {
        write!(
            to,
            "{}: {}",
            kind(finding.kind),
            printable(&finding.file.display().to_string())
        )?;
        if let Some(offset) = finding.offset {
            write!(to, ", byte {offset}")?;
        }
        if let Some(entry) = finding.entry {
            write!(to, ", entry {entry}")?;
        }
        if let Some(seq) = finding.seq {
            write!(to, "; events from {seq} on can't be vouched for")?;
        }
        writeln!(to, "\n  {}", printable(&finding.what))?;
    }
    Ok(())
}

/// How the program ends for these findings.
pub(super) fn verdict(findings: &[Finding]) -> Result<(), Failure> {
    let Some(first) = findings.first() else {
        return Ok(());
    };
    let only_versions = findings
        .iter()
        .all(|finding| finding.kind == FindingKind::Version);
    let file = first.file.display();
    Err(match only_versions {
        true => Failure::new(
            Exit::Internal,
            format!("{file} was written by another version: {}", first.what),
        )
        .or_try("the version of chv that wrote it, or a later one"),
        false => Failure::new(Exit::Damaged, format!("{file}: {}", first.what))
            .or_try("keep the files as they are; replace the replica from its peers, or restore a backup"),
    })
}

const fn kind(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::Damaged => "DAMAGED",
        FindingKind::Missing => "MISSING",
        FindingKind::Contradiction => "CONTRADICTION",
        FindingKind::Version => "OTHER VERSION",
        FindingKind::Unreadable => "UNREADABLE",
    }
}
