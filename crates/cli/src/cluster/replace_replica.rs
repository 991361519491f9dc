//! `chv cluster replace-replica`: let a new replica take another one's place.

use std::io::Write;
use std::net::SocketAddr;

use chv_domain::{Command, ReplicaId};

use crate::change::{Change, Expect};
use crate::cli::Waiting;
use crate::failure::Failure;
use crate::session::Session;

/// Let a new replica take the place of one that is lost, or is to go, at the moment when it has caught up.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  chv cluster replace-replica 3 4 127.0.0.1:7104")]
pub(crate) struct ReplaceReplica {
    /// The number of the one that leaves.
    old: ReplicaId,
    /// The new one's number, which no replica of this cluster ever had.
    new: ReplicaId,
    /// Where the other replicas reach the new one.
    address: SocketAddr,
    #[command(flatten)]
    expect: Expect,
    #[command(flatten)]
    waiting: Waiting,
}

impl ReplaceReplica {
    pub(super) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let Self {
            old, new, address, ..
        } = self;
        let command = Command::ReplaceReplica { old, new, address };
        Change::of_cluster("joining", format!("replica {new} instead of {old}"), command)
            .expecting(self.expect)
            .make(session, self.waiting, to)
            .await
    }
}
