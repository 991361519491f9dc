//! Makes something else of a guest while it runs, and notes what it is by then.

use std::sync::Arc;

use chv_domain::VmSpec;

use super::super::launch::Fault;
use super::Actor;
use crate::hypervisor::{Changing, Operation};
use crate::ledger::Marker;
use crate::plan::{Change, Guest, Ran, Wanted};

impl Actor {
    pub(super) async fn change(&mut self, change: &Change, is: Arc<VmSpec>, wanted: &Wanted) {
        match self.make(change, &is).await {
            Ok(()) => {
                tracing::info!(vm = %self.vm, ?change, "changed while it runs");
                self.note_changed(&is).await;
                self.observed.changed(is);
            }
            Err(fault) => self.failed(Operation::Change, &fault, wanted),
        }
    }

    async fn make(&mut self, change: &Change, is: &VmSpec) -> Result<(), Fault> {
        let (
            Some(attached),
            Guest::Running {
                ran: Ran { runs: Some(runs), .. },
                ..
            },
        ) = (&self.attached, &self.observed.guest)
        else {
            return Ok(());
        };
        let started = &runs.started;
        let disk = match change {
            Change::AttachDisk(disk) => Some(self.here.show(&attached.instance, disk).await?),
            _ => None,
        };
        if let Change::AttachNic(nic) = change {
            self.here.give(&attached.instance, nic).await?;
        }
        let changing = Changing {
            change,
            started,
            is,
            disk: disk.as_deref(),
        };
        attached.change(&changing).await?;
        if let Change::DetachDisk(disk) = change
            && let Some(disk) = runs.is.disks.iter().find(|there| there.id == *disk)
        {
            self.here.hide(&attached.instance, disk).await;
        }
        Ok(())
    }

    /// Before it is reported: should this daemon end now, the next one knows it too, or makes it once more.
    async fn note_changed(&self, is: &Arc<VmSpec>) {
        let (dir, is) = (self.here.data.run_dir(self.vm), Arc::clone(is));
        let noted = tokio::task::spawn_blocking(move || match Marker::read(&dir) {
            Some(marker) => Marker {
                changed: Some(is),
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
