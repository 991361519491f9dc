//! `chv cluster step-down`: let another replica lead.

use std::io::Write;

use chv_domain::Command;

use crate::change::Change;
use crate::cli::Waiting;
use crate::failure::Failure;
use crate::session::Session;

/// Let another replica lead, without waiting for the leader to fail: before its machine is restarted, say.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  chv cluster step-down")]
pub(crate) struct StepDown {
    #[command(flatten)]
    waiting: Waiting,
}

impl StepDown {
    pub(super) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        Change::of_cluster("stepping down", "leader".to_owned(), Command::StepDown)
            .make(session, self.waiting, to)
            .await
    }
}
