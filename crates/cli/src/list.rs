//! `chv list KIND`: the `list` of each noun, the verb first.

use std::io::Write;

use crate::failure::Failure;
use crate::session::Session;
use crate::{events, host, vm};

/// Show all things of a kind.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  chv list vms
  chv list hosts
  chv list events --vm hello")]
pub(crate) enum List {
    #[command(alias = "vm")]
    Vms(vm::list::List),
    #[command(alias = "host")]
    Hosts(host::list::List),
    #[command(alias = "event")]
    Events(events::Events),
}

impl List {
    pub(crate) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        match self {
            Self::Vms(verb) => verb.run(session, to).await,
            Self::Hosts(verb) => verb.run(session, to).await,
            Self::Events(verb) => verb.run(session, to).await,
        }
    }
}
