//! `chv cluster`: one file a verb.

mod step_down;

use std::io::Write;

use clap::Subcommand;

use crate::failure::Failure;
use crate::session::Session;

/// What can be done with the cluster itself.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Example:
  chv cluster step-down")]
pub(crate) enum Verb {
    StepDown(step_down::StepDown),
}

impl Verb {
    pub(crate) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        match self {
            Self::StepDown(verb) => verb.run(session, to).await,
        }
    }
}
