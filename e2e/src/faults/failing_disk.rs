//! A disk whose file system turns read-only while it is used, as the kernel does after a fault of the device.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::loop_disk::LoopDisk;
use super::system;

/// The disk, mounted. Dropped, it is unmounted.
#[derive(Debug)]
pub struct FailingDisk(LoopDisk);

impl FailingDisk {
    /// Mounts one at `place`, made of a file beside it. To be called [in own namespaces](super::in_own_namespaces).
    ///
    /// # Errors
    /// When it can't be made or mounted.
    pub fn mount(place: PathBuf) -> Result<Self> {
        LoopDisk::mount(place, "errors=remount-ro").map(Self)
    }

    /// From now on it can only be read.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn fail(&self) -> Result<()> {
        system::run("mount", [Path::new("-oremount,abort"), self.0.place()])
    }

    /// Mends it, as an operator does: unmounted, checked, mounted. Nothing may have a file open there.
    ///
    /// # Errors
    /// When it can't be.
    pub fn mend(&self) -> Result<()> {
        self.0.check_and_mount()
    }
}
