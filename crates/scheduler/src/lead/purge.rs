//! Has deleted VMs removed whose time is over. Which are due follows from the state and the leader's clock ([`due`], pure);
//! that they are, is decided once more like any command.

use std::time::Duration;

use chv_domain::{Command, Projection, Timestamp, VmId};
use chv_proto::client::now;
use futures::future::join_all;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::intake::Waiting;
use super::{Office, own};

/// How often it is looked whether something is due.
const LOOK: Duration = Duration::from_secs(1);

/// How many are removed at a look: others' commands have their turn, too.
const MOST: usize = 64;

/// The VMs whose time is over, the first of them first; at most `most`.
fn due(state: &Projection, now: Timestamp, most: usize) -> Vec<VmId> {
    state
        .binned()
        .take_while(|vm| vm.binned().is_some_and(|until| until <= now))
        .take(most)
        .map(|vm| vm.id)
        .collect()
}

/// Looks for as long as the term lasts.
pub(super) async fn run(office: Office, queue: mpsc::Sender<Waiting>) {
    loop {
        tokio::select! {
            () = office.stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let due = due(&office.reader.log.projection(), now(), MOST);
        let recorded = due.into_iter().map(async |vm| {
            info!(%vm, "it was deleted, and its time is over");
            let recorded = own::record(&office, &queue, Command::PurgeVm { vm }).await;
            // Where it is refused, it stays due.
            if let Some(Err(error)) = recorded {
                warn!(%vm, %error, "it is not removed for now");
            }
        });
        join_all(recorded).await;
    }
}
