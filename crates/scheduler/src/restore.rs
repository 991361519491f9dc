//! `chv-scheduler restore`: a cluster's first replica out of an archive.

use std::net::SocketAddr;
use std::path::PathBuf;

use chv_domain::{ClusterId, ReplicaId};
use chv_eventlog::archive::{self, Restore};
use chv_proto::client::now;
use clap::Args;

/// Make the data directory of a cluster's one replica out of an archive, checking all of it.
#[derive(Args)]
pub(crate) struct RestoreArgs {
    /// The archive, made by `chv cluster backup` or `chv log export`.
    #[arg(long)]
    archive: PathBuf,
    /// The data directory; must be empty or not there yet.
    #[arg(long)]
    data: PathBuf,
    /// This replica's number; none that the archived cluster ever gave.
    #[arg(long)]
    replica: ReplicaId,
    /// Where other replicas will reach this one; what `run --listen` will be given.
    #[arg(long)]
    listen: SocketAddr,
    /// Another id for the cluster, a ULID: for a copy beside the original. The archived one's if not given.
    #[arg(long)]
    cluster: Option<ClusterId>,
}

impl RestoreArgs {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let mut shown = 0;
        let order = Restore {
            archive: self.archive,
            dir: self.data,
            replica: self.replica,
            address: self.listen,
            cluster: self.cluster,
            now: now(),
            command: chv_proto::client::new_command_id(),
        };
        let restored = archive::restore(&order, &mut |progress| {
            let percent = (progress.done * 100).checked_div(progress.total).unwrap_or(0);
            if percent >= shown + 10 {
                shown = percent;
                tracing::info!(percent, "restoring");
            }
        })?;
        println!(
            "{} is replica {} of cluster {}, with events {} to {}; event {} and those after it say that the replicas of \
             before have left",
            order.dir.display(),
            order.replica,
            restored.cluster,
            restored.first,
            restored.archived,
            restored.archived.next()
        );
        Ok(())
    }
}
