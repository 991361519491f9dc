//! What a device of a guest that runs needs of its host before its hypervisor is told of it: its file found and shown
//! behind the guest's wall, its TAP device given to the guest's user.

use std::path::PathBuf;

use chv_domain::spec::{Disk, Nic, NicBackend};

use super::here::Here;
use super::launch::Fault;
use crate::hypervisor::{HypervisorError, Instance, openable};
use crate::wall::{self, Showing, Shown};

impl Here {
    /// The image file of `disk`, which the guest of `instance` can use then.
    pub(super) async fn show(&self, instance: &Instance, disk: &Disk) -> Result<PathBuf, Fault> {
        let (files, instance, disk) = (self.files.clone(), instance.clone(), disk.clone());
        blocking(move || {
            let found = files.resolve(&disk.path);
            let path = found.map_err(|error| Fault::Blocked(error.to_string()))?;
            openable(&path, !disk.read_only).map_err(|error: HypervisorError| Fault::from(error))?;
            let file = Shown::data(&path, !disk.read_only);
            shown(&instance, file, true).map_err(|error| {
                Fault::Passing(format!(
                    "{} can't be shown to its hypervisor: {error}",
                    path.display()
                ))
            })?;
            Ok(path)
        })
        .await
    }

    /// The guest of `instance` finds the image file of `disk` no more.
    pub(super) async fn hide(&self, instance: &Instance, disk: &Disk) {
        let (vm, files) = (instance.vm, self.files.clone());
        let (instance, disk) = (instance.clone(), disk.clone());
        let hidden = blocking(move || {
            let failed = |error: String| Fault::Passing(error);
            let path = files
                .resolve(&disk.path)
                .map_err(|error| failed(error.to_string()))?;
            let file = Shown::data(&path, !disk.read_only);
            shown(&instance, file, false).map_err(|error| failed(error.to_string()))
        });
        // It is let go of already; that it could be opened again is over with the guest's process.
        if let Err(Fault::Passing(why)) = hidden.await {
            tracing::warn!(%vm, why, "a disk that was taken from it is still shown to its hypervisor");
        }
    }

    /// Lets the guest of `instance` use what `nic` is plugged into.
    pub(super) async fn give(&self, instance: &Instance, nic: &Nic) -> Result<(), Fault> {
        let NicBackend::Tap(name) = nic.backend.clone() else {
            return Ok(());
        };
        let run_dir = instance.run_dir.clone();
        blocking(move || {
            let Some(user) = run_dir.user() else { return Ok(()) };
            let name = name.as_str();
            let there = std::path::Path::new("/sys/class/net").join(name);
            if !there.exists() {
                return Err(Fault::Blocked(format!(
                    "there is no TAP device {name} on this host; make it"
                )));
            }
            // It was given before, and may be open by now.
            if std::fs::read_to_string(there.join("owner"))
                .is_ok_and(|owner| owner.trim() == user.to_string())
            {
                return Ok(());
            }
            wall::give_tap(name, user).map_err(|error| {
                Fault::Blocked(format!(
                    "the TAP device {name} can't be given to its hypervisor: {error}"
                ))
            })
        })
        .await
    }
}

fn shown(instance: &Instance, file: Shown, there: bool) -> std::io::Result<()> {
    let Some(user) = instance.run_dir.user() else {
        return Ok(());
    };
    wall::show(Showing {
        process: instance.process,
        user,
        file,
        there,
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Fault::Passing(error.to_string())))
}
