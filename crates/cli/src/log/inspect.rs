//! `chv log inspect`: what a data directory holds.

use std::io::{self, Write};
use std::path::PathBuf;

use chv_eventlog::offline::{self, ClosedDir, Inspection, Position};

use super::offline::{blocking, show, verdict};
use crate::failure::Failure;
use crate::output::{Table, rfc3339, structured};
use crate::session::Session;

/// Show what a replica's data directory holds. Changes nothing; a read-only file system serves.
///
/// No process may have the directory open. It shows what the files say of themselves; `chv log verify` proves it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chv log inspect /var/lib/chv/log
  chv log inspect /mnt/copy -o json | jq '.last.seq, .sizes.total'")]
pub(crate) struct Inspect {
    /// The data directory of a replica that is not running.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// An inspection as programs see it.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct InspectionView<'a> {
    #[serde(flatten)]
    found: &'a Inspection,
    last_time: Option<String>,
}

impl Inspect {
    pub(super) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let found =
            blocking(move || Ok::<_, Failure>(offline::inspect(&ClosedDir::open(&self.dir)?))).await??;
        let view = InspectionView {
            last_time: found.last.map(|last| rfc3339(last.time)),
            found: &found,
        };
        if !structured(session.format(), &view, to)? {
            write(&found, to)?;
        }
        to.flush()?;
        verdict(&found.findings)
    }
}

fn write(found: &Inspection, to: &mut impl Write) -> io::Result<()> {
    writeln!(to, "replica {} of cluster {}", found.replica, found.cluster)?;
    let versions = found.versions;
    writeln!(
        to,
        "versions    layout {}, segments {}, frames {}, values {}",
        versions.layout, versions.segment, versions.frame, versions.stored
    )?;
    match found.vote {
        Some(vote) => writeln!(
            to,
            "vote        term {} for replica {}{}",
            vote.term,
            vote.replica,
            if vote.won { ", which won" } else { "" }
        )?,
        None => writeln!(to, "vote        none yet")?,
    }
    match &found.log {
        Some(log) => writeln!(
            to,
            "log         entries {} to {}",
            log.first,
            position(Some(log.last))
        )?,
        None => writeln!(to, "log         empty")?,
    }
    writeln!(to, "committed   {}, at least", position(found.committed))?;
    if found.purged.is_some() {
        writeln!(to, "purged      up to {}", position(found.purged))?;
    }
    match &found.last {
        Some(last) => writeln!(
            to,
            "last event  {} at {}, hash {}",
            last.seq,
            rfc3339(last.time),
            last.hash
        )?,
        None => writeln!(to, "last event  none")?,
    }
    let sizes = found.sizes;
    writeln!(
        to,
        "bytes       {} in all: log {}, snapshots {}, index {}",
        sizes.total, sizes.segments, sizes.snapshots, sizes.index
    )?;
    files(found, to)?;
    show(&found.findings, to)
}

fn files(found: &Inspection, to: &mut impl Write) -> io::Result<()> {
    let mut table = Table::new(&["FILE", "BYTES", "USED", "HOLDS"]);
    for segment in &found.segments {
        let torn = match segment.torn {
            0 => String::new(),
            torn => format!(", {torn} torn bytes"),
        };
        table.row([
            name(&segment.file),
            segment.bytes.to_string(),
            segment.used.to_string(),
            format!("{} entries from {}{torn}", segment.entries, segment.first),
        ]);
    }
    for snapshot in &found.snapshots {
        table.row([
            name(&snapshot.file),
            snapshot.bytes.to_string(),
            snapshot.bytes.to_string(),
            format!(
                "the state at event {}, entry {}",
                snapshot.seq,
                position(snapshot.upto)
            ),
        ]);
    }
    table.write(to)
}

fn name(path: &std::path::Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn position(position: Option<Position>) -> String {
    position.map_or_else(
        || "none".to_owned(),
        |position| format!("{} of term {}", position.entry, position.term),
    )
}
