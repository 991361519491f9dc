//! A disk whose file system turns read-only while it is used, as the kernel does after a fault of the device.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::system;

/// Its size, in MiB: some segments of a log, and the reserve.
const SIZE_MIB: u64 = 160;

/// The disk, mounted. Dropped, it is unmounted.
#[derive(Debug)]
pub struct FailingDisk(PathBuf);

impl FailingDisk {
    /// Mounts one at `place`, made of a file beside it. To be called [in own namespaces](super::in_own_namespaces).
    ///
    /// # Errors
    /// When it can't be made or mounted.
    pub fn mount(place: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&place)?;
        let image = place.with_extension("disk");
        File::create(&image)?.set_len(SIZE_MIB << 20)?;
        system::run("mkfs.ext4", [Path::new("-q"), Path::new("-F"), &image])?;
        let options = Path::new("-oloop,errors=remount-ro");
        system::run("mount", [options, &image, &place])?;
        // A replica takes an empty directory only.
        std::fs::remove_dir(place.join("lost+found"))?;
        Ok(Self(place))
    }

    /// From now on it can only be read.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn fail(&self) -> Result<()> {
        system::run("mount", [Path::new("-oremount,abort"), &self.0])
    }
}

impl Drop for FailingDisk {
    fn drop(&mut self) {
        // It ends with the namespace at the latest.
        let _ = system::run("umount", [Path::new("--lazy"), self.0.as_path()]);
    }
}
