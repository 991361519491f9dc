//! `chv log`: the log's files, without a cluster.

mod export;
mod inspect;
mod offline;
mod verify;

use std::io::Write;

use clap::Subcommand;

use crate::failure::Failure;
use crate::session::Session;
pub(crate) use export::told;
pub(crate) use offline::blocking;

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  chv log verify /var/lib/chv/log
  chv log inspect /var/lib/chv/log -o json
  chv log export monday.chv --data /var/lib/chv/log")]
pub(crate) enum Verb {
    Verify(verify::Verify),
    Inspect(inspect::Inspect),
    Export(export::Export),
}

impl Verb {
    pub(crate) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        match self {
            Self::Verify(verb) => verb.run(session, to).await,
            Self::Inspect(verb) => verb.run(session, to).await,
            Self::Export(verb) => verb.run(session, to).await,
        }
    }
}
