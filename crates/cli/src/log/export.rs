//! `chv log export`: every record that is kept, and the state they fold to, in one file.

use std::io::Write;
use std::path::PathBuf;

use chv_eventlog::archive::{self, Archived};
use chv_eventlog::offline::ClosedDir;

use super::offline::{blocking, percent};
use crate::failure::Failure;
use crate::output::structured;
use crate::session::Session;
use crate::wait::Progress;

/// Write a stopped replica's events and the state they fold to into one file, checking all of it.
///
/// `chv-scheduler restore` makes a cluster out of it, and `chv log verify` checks it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chv log export monday.chv --data /var/lib/chv/log
  chv log export monday.chv --data /var/lib/chv/log -o json | jq .lastHash")]
pub(crate) struct Export {
    /// The file to write; one of that name is replaced once the new one is whole.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The data directory of a replica that is not running.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

impl Export {
    pub(super) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let archived = blocking(move || {
            let dir = ClosedDir::open(&self.data)?;
            let mut line = Progress::new();
            Ok::<_, Failure>(archive::collect(
                &dir,
                &self.file,
                &mut percent(&mut line, "exporting"),
            )?)
        })
        .await??;
        if !structured(session.format(), &archived, to)? {
            told(&archived, to)?;
        }
        Ok(to.flush()?)
    }
}

/// An archive, for people.
pub(crate) fn told(archived: &Archived, to: &mut impl Write) -> std::io::Result<()> {
    writeln!(
        to,
        "{}: events {} to {} of cluster {}, {} records in {} bytes\nlast hash {}",
        archived.file.display(),
        archived.first_seq,
        archived.last_seq,
        archived.cluster,
        archived.records,
        archived.bytes,
        archived.last_hash
    )
}
