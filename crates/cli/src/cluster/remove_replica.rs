//! `chv cluster remove-replica`: let a replica hold the log no more.

use std::io::Write;

use chv_domain::{Command, ReplicaId};

use crate::change::{Change, Expect};
use crate::cli::Waiting;
use crate::failure::Failure;
use crate::session::Session;

/// Let a replica hold the log no more, or give up one that is joining. Its number is not given again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  chv cluster remove-replica 3")]
pub(crate) struct RemoveReplica {
    /// Its number.
    replica: ReplicaId,
    #[command(flatten)]
    expect: Expect,
    #[command(flatten)]
    waiting: Waiting,
}

impl RemoveReplica {
    pub(super) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let replica = self.replica;
        Change::of_cluster(
            "leaving",
            format!("replica {replica}"),
            Command::RemoveReplica { replica },
        )
        .expecting(self.expect)
        .make(session, self.waiting, to)
        .await
    }
}
