//! A disk of a test's own: a file system on a loop device, for a replica's directory.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::system;

/// Its size, in MiB: some segments of a log, and the reserve.
const SIZE_MIB: u64 = 160;

/// The disk, mounted. Dropped, it is unmounted.
#[derive(Debug)]
pub(super) struct LoopDisk(PathBuf);

impl LoopDisk {
    /// Mounts one at `place`, made of a file beside it, with these options. To be called [in own
    /// namespaces](super::in_own_namespaces).
    pub(super) fn mount(place: PathBuf, options: &str) -> Result<Self> {
        std::fs::create_dir_all(&place)?;
        let image = place.with_extension("disk");
        File::create(&image)?.set_len(SIZE_MIB << 20)?;
        system::run("mkfs.ext4", [Path::new("-q"), Path::new("-F"), &image])?;
        let options = format!("-oloop,{options}");
        system::run("mount", [Path::new(&options), &image, &place])?;
        // A replica takes an empty directory only.
        std::fs::remove_dir(place.join("lost+found"))?;
        Ok(Self(place))
    }

    /// Unmounts it, mends its file system, and mounts it again.
    pub(super) fn check_and_mount(&self) -> Result<()> {
        let image = self.0.with_extension("disk");
        system::run("umount", [self.0.as_path()])?;
        // Its end says whether there was something to mend, which is no failure.
        let _ = system::run("e2fsck", [Path::new("-p"), &image]);
        system::run("mount", [Path::new("-oloop"), &image, &self.0])
    }

    /// Where it is mounted.
    pub(super) fn place(&self) -> &Path {
        &self.0
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        // It ends with the namespace at the latest.
        let _ = system::run("umount", [Path::new("--lazy"), self.0.as_path()]);
    }
}
