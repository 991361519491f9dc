//! `chv host`: one file a verb.

mod cordon;
pub(crate) mod get;
pub(crate) mod list;
mod uncordon;

use std::io::Write;

use clap::Subcommand;

use crate::failure::Failure;
use crate::session::Session;

/// What can be done with hosts.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  chv host list
  chv host cordon h1")]
pub(crate) enum Verb {
    #[command(visible_alias = "ls")]
    List(list::List),
    Get(get::Get),
    Cordon(cordon::Cordon),
    Uncordon(uncordon::Uncordon),
}

impl Verb {
    pub(crate) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        match self {
            Self::List(verb) => verb.run(session, to).await,
            Self::Get(verb) => verb.run(session, to).await,
            Self::Cordon(verb) => verb.run(session, to).await,
            Self::Uncordon(verb) => verb.run(session, to).await,
        }
    }
}
