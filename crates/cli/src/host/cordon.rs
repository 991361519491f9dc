//! `chv host cordon`: keep new VMs away from a host.

use std::io::Write;

use chv_domain::{Command, HostName};

use crate::change::{Change, Expect};
use crate::cli::Waiting;
use crate::failure::Failure;
use crate::session::Session;

/// Keep new VMs away from a host. Those that are there stay.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  chv host cordon h1")]
pub(crate) struct Cordon {
    /// Its name.
    host: HostName,
    #[command(flatten)]
    expect: Expect,
    #[command(flatten)]
    waiting: Waiting,
}

impl Cordon {
    pub(super) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let host = self.host.clone();
        Change::of_host("cordoned", &self.host, Command::CordonHost { host })
            .expecting(self.expect)
            .make(session, self.waiting, to)
            .await
    }
}
