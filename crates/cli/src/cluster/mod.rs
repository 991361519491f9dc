//! `chv cluster`: one file a verb.

mod add_replica;
mod backup;
mod get;
mod remove_replica;
mod replace_replica;
mod set_retention;
mod step_down;

use std::io::Write;

use clap::Subcommand;

use crate::failure::Failure;
use crate::session::Session;

/// What can be done with the cluster itself.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  chv cluster get
  chv cluster add-replica 4 127.0.0.1:7104
  chv cluster replace-replica 3 4 127.0.0.1:7104
  chv cluster step-down
  chv cluster set-retention --keep-for 90d
  chv cluster backup monday.chv")]
pub(crate) enum Verb {
    Get(get::Get),
    AddReplica(add_replica::AddReplica),
    RemoveReplica(remove_replica::RemoveReplica),
    ReplaceReplica(replace_replica::ReplaceReplica),
    StepDown(step_down::StepDown),
    SetRetention(set_retention::SetRetention),
    Backup(backup::Backup),
}

impl Verb {
    pub(crate) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        match self {
            Self::Get(verb) => verb.run(session, to).await,
            Self::AddReplica(verb) => verb.run(session, to).await,
            Self::RemoveReplica(verb) => verb.run(session, to).await,
            Self::ReplaceReplica(verb) => verb.run(session, to).await,
            Self::StepDown(verb) => verb.run(session, to).await,
            Self::SetRetention(verb) => verb.run(session, to).await,
            Self::Backup(verb) => verb.run(session, to).await,
        }
    }
}
