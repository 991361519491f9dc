//! `chv log verify`: the proof that files hold what was written.

use std::io::{self, Write};
use std::path::PathBuf;

use chv_eventlog::offline::{self, ClosedDir, Verification};

use super::offline::{blocking, show, verdict};
use crate::failure::Failure;
use crate::output::structured;
use crate::session::Session;
use crate::wait::Progress;

/// Check a replica's data directory: checksums, event numbers, hash chain, snapshots. Changes nothing.
///
/// No process may have the directory open. Exits with 10 where something is not as it was written, and says
/// what, in which file, and from which event on.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chv log verify /var/lib/chv/log
  chv log verify /var/lib/chv/log -o json | jq .lastHash")]
pub(crate) struct Verify {
    /// The data directory of a replica that is not running.
    #[arg(value_name = "PATH")]
    path: PathBuf,
}

impl Verify {
    pub(super) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let verified = blocking(move || {
            let dir = ClosedDir::open(&self.path)?;
            let mut line = Progress::new();
            Ok::<_, Failure>(offline::verify(&dir, &mut |progress| {
                if let Some(percent) = (progress.done * 100).checked_div(progress.total) {
                    // Tens, so that a log file does not get a line for each segment.
                    line.show(&format!("checking the log: {}%", percent / 10 * 10));
                }
            }))
        })
        .await??;
        if !structured(session.format(), &verified, to)? {
            write(&verified, to)?;
        }
        to.flush()?;
        verdict(&verified.findings)
    }
}

fn write(verified: &Verification, to: &mut impl Write) -> io::Result<()> {
    let whose = match verified.replica {
        Some(replica) => format!("replica {replica} of cluster {}", verified.cluster),
        None => format!("cluster {}", verified.cluster),
    };
    writeln!(to, "{whose}")?;
    match verified.first_seq {
        Some(first) => writeln!(to, "events      {first} to {}", verified.last_seq)?,
        None => writeln!(to, "events      up to {}", verified.last_seq)?,
    }
    writeln!(to, "last hash   {}", verified.last_hash)?;
    let dropped = match verified.dropped {
        0 => String::new(),
        dropped => format!(", {dropped} batches that no replica applies"),
    };
    writeln!(
        to,
        "checked     {} entries, {} records{dropped}",
        verified.entries, verified.records
    )?;
    writeln!(
        to,
        "snapshots   {} as the records fold to, {} out of the log's reach",
        verified.snapshots_compared, verified.snapshots_alone
    )?;
    if verified.torn_bytes > 0 {
        writeln!(
            to,
            "torn        {} bytes of a write that was never acknowledged",
            verified.torn_bytes
        )?;
    }
    show(&verified.findings, to)?;
    if verified.is_sound() {
        writeln!(to, "sound")?;
    }
    Ok(())
}
