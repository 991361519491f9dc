//! `chv log verify`: the proof that files hold what was written.

use std::io::{self, Write};
use std::path::PathBuf;

use chv_eventlog::archive;
use chv_eventlog::offline::{self, ClosedDir, Verification};

use super::offline::{blocking, percent, show, verdict};
use crate::failure::Failure;
use crate::output::structured;
use crate::session::Session;
use crate::wait::Progress;

/// Check a stopped replica's data directory, or an archive: checksums, event numbers, hash chain, states.
///
/// Changes nothing. No process may have the directory open. Exits with 10 where something is not as it was written, and says
/// what, in which file, and from which event on.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chv log verify /var/lib/chv/log
  chv log verify monday.chv
  chv log verify /var/lib/chv/log -o json | jq .lastHash")]
pub(crate) struct Verify {
    /// The data directory of a replica that is not running, or an archive.
    #[arg(value_name = "PATH")]
    path: PathBuf,
}

impl Verify {
    pub(super) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let verified = blocking(move || {
            if self.path.is_file() {
                let mut line = Progress::new();
                return Ok(archive::verify(
                    &self.path,
                    &mut percent(&mut line, "checking the archive"),
                )?);
            }
            let dir = ClosedDir::open(&self.path)?;
            let mut line = Progress::new();
            Ok::<_, Failure>(offline::verify(&dir, &mut percent(&mut line, "checking the log")))
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
    let cluster = verified
        .cluster
        .map_or_else(|| "unknown".to_owned(), |cluster| cluster.to_string());
    let whose = match verified.replica {
        Some(replica) => format!("replica {replica} of cluster {cluster}"),
        None => format!("archive of cluster {cluster}"),
    };
    writeln!(to, "{whose}")?;
    match verified.first_seq {
        Some(first) => writeln!(to, "events      {first} to {}", verified.last_seq)?,
        None => writeln!(to, "events      up to {}", verified.last_seq)?,
    }
    if let Some(base) = verified.base_seq {
        writeln!(
            to,
            "begins      with the state after event {base}; what was before is not kept"
        )?;
    }
    writeln!(to, "last hash   {}", verified.last_hash)?;
    let dropped = match verified.dropped {
        0 => String::new(),
        dropped => format!(", {dropped} batches that no replica applies"),
    };
    let sealed = match verified.sealed {
        0 => String::new(),
        sealed => format!(", {sealed} records sealed"),
    };
    writeln!(
        to,
        "checked     {} entries, {} records{sealed}{dropped}",
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
