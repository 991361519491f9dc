//! `chv cluster add-replica`: let a new replica hold the log.

use std::io::Write;
use std::net::SocketAddr;

use chv_domain::{Command, ReplicaId};

use crate::change::{Change, Expect};
use crate::cli::Waiting;
use crate::failure::Failure;
use crate::session::Session;

/// Let a new replica hold the log. It votes once it has caught up; `chv events -f` shows when.
///
/// Make its data directory with `chv-scheduler init` and start it before or after.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  chv cluster add-replica 4 127.0.0.1:7104")]
pub(crate) struct AddReplica {
    /// Its number, which no replica of this cluster ever had.
    replica: ReplicaId,
    /// Where the other replicas reach it.
    address: SocketAddr,
    #[command(flatten)]
    expect: Expect,
    #[command(flatten)]
    waiting: Waiting,
}

impl AddReplica {
    pub(super) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let Self { replica, address, .. } = self;
        let command = Command::AddReplica { replica, address };
        Change::of_cluster("joining", format!("replica {replica}"), command)
            .expecting(self.expect)
            .make(session, self.waiting, to)
            .await
    }
}
