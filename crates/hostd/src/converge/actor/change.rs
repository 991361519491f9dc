//! Makes something else of a guest while it runs, and notes what it is by then.

use std::sync::Arc;

use chv_domain::VmSpec;
use chv_domain::spec::{DeviceId, Disk};
use tokio_util::sync::CancellationToken;

use super::super::launch::Fault;
use super::Actor;
use crate::hypervisor::{Changing, Operation};
use crate::ledger::Marker;
use crate::plan::{BegunChange, Change, Guest, Ran, Runs, Wanted};

impl Actor {
    /// A change may take long, and never end where a file's disk has gone away: another wish, or an end, leaves it begun.
    pub(super) async fn change(
        &mut self,
        change: &Change,
        is: Arc<VmSpec>,
        wanted: &Wanted,
        stop: &CancellationToken,
    ) {
        // Before the effect: should this daemon end now, or something else be wanted, it is known that it may be made.
        let begun = BegunChange {
            change: change.clone(),
            is: Arc::clone(&is),
        };
        self.observed.changing(begun.clone());
        self.note_changed(None, Some(begun)).await;
        let (mut newer, changed) = (self.wanted.clone(), wanted.changed());
        let made = tokio::select! {
            made = self.make(change, &is) => made,
            () = stop.cancelled() => return,
            _ = newer.wait_for(|newer| newer.changed() != changed || !newer.runs()) => return,
            () = self.has_ended() => return,
        };
        match made {
            Ok(()) => {
                tracing::info!(vm = %self.vm, %change, "changed while it runs");
                self.note_changed(Some(Arc::clone(&is)), None).await;
                self.observed.changed(is);
            }
            Err(fault) => self.failed(Operation::Change, &fault, wanted),
        }
    }

    /// Its process has ended, of which it is told elsewhere.
    async fn has_ended(&self) {
        match &self.attached {
            Some(attached) if attached.instance.exited().await.is_ok() => {}
            Some(_) | None => std::future::pending().await,
        }
    }

    async fn make(&self, change: &Change, is: &VmSpec) -> Result<(), Fault> {
        let (
            Some(attached),
            Guest::Running {
                ran: Ran { runs: Some(runs), .. },
                ..
            },
        ) = (&self.attached, &self.observed.guest)
        else {
            return Err(Fault::Passing("it is not looked after just now".to_owned()));
        };
        let instance = &attached.instance;
        let disk = match change {
            Change::AttachDisk(disk) => Some(self.here.show(instance, disk).await?),
            _ => None,
        };
        if let Change::AttachNic(nic) = change {
            self.here.give(instance, nic).await?;
        }
        let changing = Changing {
            change,
            started: &runs.started,
            is,
            disk: disk.as_deref(),
        };
        let made = attached.change(&changing).await;
        let hidden = match (change, &made) {
            (Change::DetachDisk(id), Ok(())) => had(runs, id),
            (Change::AttachDisk(disk), Err(_)) => Some(disk.as_ref()),
            _ => None,
        };
        let shared = |disk: &Disk| {
            is.disks
                .iter()
                .any(|other| other.id != disk.id && other.path == disk.path)
        };
        if let Some(disk) = hidden.filter(|disk| !shared(disk)) {
            self.here.hide(instance, disk).await;
        }
        Ok(made?)
    }

    /// Notes what it is by now, where that is known, and what is begun.
    async fn note_changed(&self, is: Option<Arc<VmSpec>>, begun: Option<BegunChange>) {
        let dir = self.here.data.run_dir(self.vm);
        let noted = tokio::task::spawn_blocking(move || match Marker::read(&dir) {
            Some(marker) => Marker {
                changed: is.or(marker.changed),
                begun,
                ..marker
            }
            .write(&dir),
            None => Ok(()),
        });
        let noted = noted
            .await
            .unwrap_or_else(|error| Err(std::io::Error::other(error)));
        if let Err(error) = noted {
            tracing::error!(vm = %self.vm, %error, "a change is not noted");
        }
    }
}

/// A disk that the guest has, or may have by a change that was begun.
fn had<'a>(runs: &'a Runs, id: &DeviceId) -> Option<&'a Disk> {
    let begun = match &runs.begun {
        Some(BegunChange {
            change: Change::AttachDisk(disk),
            ..
        }) => Some(disk.as_ref()),
        _ => None,
    };
    runs.is.disks.iter().chain(begun).find(|disk| disk.id == *id)
}
