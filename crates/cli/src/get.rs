//! `chv get KIND NAME`: the `get` of each noun, the verb first.

use std::io::Write;

use crate::failure::Failure;
use crate::session::Session;
use crate::{host, vm};

/// Show one thing.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  chv get vm hello
  chv get host h1 -o yaml")]
pub(crate) enum Get {
    Vm(vm::get::Get),
    Host(host::get::Get),
}

impl Get {
    pub(crate) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        match self {
            Self::Vm(verb) => verb.run(session, to).await,
            Self::Host(verb) => verb.run(session, to).await,
        }
    }
}
