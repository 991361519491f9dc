//! `chv host list`: every host.

use std::io::Write;

use crate::cli::Reading;
use crate::failure::Failure;
use crate::output::structured;
use crate::session::Session;
use crate::view;
use crate::when::AsOf;

/// Show the hosts, in the order of their names.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chv host list
  chv host list --at 2026-11-21T08:30:00Z
  chv host list -o json | jq -r '.[] | select(.alive).name'")]
pub(crate) struct List {
    #[command(flatten)]
    as_of: AsOf,
    #[command(flatten)]
    reading: Reading,
}

impl List {
    pub(crate) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let hosts = session
            .hosts_after("", None, self.reading.into(), self.as_of)
            .await?;
        if structured(session.format(), &hosts, to)? {
            return Ok(());
        }
        if hosts.is_empty() {
            eprintln!("no hosts; start chv-hostd on one");
            return Ok(());
        }
        view::host::table(&hosts, session.now(), to)?;
        Ok(())
    }
}
