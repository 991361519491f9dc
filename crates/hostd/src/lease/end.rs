//! Ends the guests that run under a host's lease, and no other: by their directories, which say what runs there and are
//! held by their processes. The daemon and the guard do this, each by itself. Blocks.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use chv_domain::spec::OnHostLoss;

use crate::hypervisor::{Instance, RunDir};
use crate::ledger::Marker;

/// How often it is looked whether they have ended.
const LOOK: Duration = Duration::from_millis(10);

/// Kills each of them that runs; says how many still did. Doesn't wait for their ends.
pub(super) fn kill_all(vms: &Path) -> io::Result<usize> {
    let mut running = 0;
    for dir in leased(vms)? {
        match Instance::find_now(dir) {
            Ok(None) => {}
            Ok(Some(instance)) => {
                running += usize::from(instance.process.has_ended()?.is_none());
                instance.process.kill()?;
            }
            Err(error) => {
                tracing::warn!(%error, "can't tell whether a guest runs whose lease has ended; looked at again");
                running += 1;
            }
        }
    }
    Ok(running)
}

/// Kills all of them and waits until they have ended, for `limit` at most. Whether they have.
pub(super) fn end_all(vms: &Path, limit: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + limit;
    while kill_all(vms)? > 0 {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        std::thread::sleep(LOOK);
    }
    Ok(true)
}

/// Whether any of them runs, or may.
pub(super) fn any_runs(vms: &Path) -> io::Result<bool> {
    Ok(leased(vms)?
        .into_iter()
        .any(|dir| !matches!(Instance::find_now(dir), Ok(None))))
}

/// The directories of VMs that ask for failover.
fn leased(vms: &Path) -> io::Result<Vec<RunDir>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(vms)? {
        let Ok(dir) = RunDir::new(entry?.path()) else {
            continue;
        };
        let asks = |marker: &Marker| marker.spec.on_host_loss == OnHostLoss::Failover;
        if Marker::read(&dir).as_ref().is_some_and(asks) {
            found.push(dir);
        }
    }
    Ok(found)
}
