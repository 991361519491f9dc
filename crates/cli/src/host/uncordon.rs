//! `chv host uncordon`: let new VMs come to a host again.

use std::io::Write;

use chv_domain::{Command, HostName};

use crate::change::{Change, Expect};
use crate::cli::Waiting;
use crate::failure::Failure;
use crate::session::Session;

/// Let new VMs come to a host again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  chv host uncordon h1")]
pub(crate) struct Uncordon {
    /// Its name.
    host: HostName,
    #[command(flatten)]
    expect: Expect,
    #[command(flatten)]
    waiting: Waiting,
}

impl Uncordon {
    pub(super) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let host = self.host.clone();
        Change::of_host("uncordoned", &self.host, Command::UncordonHost { host })
            .expecting(self.expect)
            .make(session, self.waiting, to)
            .await
    }
}
