//! A disk that is soon full: a file system in memory of a given size, for a replica's directory.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::system;

/// How much is left when it is full, in bytes: less than a replica keeps free, more than nothing.
const LEFT: u64 = 24 << 20;

/// The disk, mounted. Dropped, it is unmounted.
#[derive(Debug)]
pub struct SmallDisk {
    place: PathBuf,
    filler: PathBuf,
}

impl SmallDisk {
    /// Mounts one of `mib` MiB at `place`. To be called [in own namespaces](super::in_own_namespaces).
    ///
    /// # Errors
    /// When it can't be mounted.
    pub fn mount(place: PathBuf, mib: u64) -> Result<Self> {
        std::fs::create_dir_all(&place)?;
        let options = format!("-osize={mib}m");
        system::run(
            "mount",
            [
                Path::new("-ttmpfs"),
                Path::new(&options),
                Path::new("tmpfs"),
                &place,
            ],
        )?;
        let filler = place.join("filler");
        Ok(Self { place, filler })
    }

    /// Fills it up, but for what no replica would touch.
    ///
    /// # Errors
    /// When its state can't be told, or it can't be written.
    pub fn fill(&self) -> Result<()> {
        let free = free(&self.place)?;
        let size = free.saturating_sub(LEFT);
        let file = std::fs::File::create(&self.filler)?;
        let zeros = vec![0; 1 << 20];
        for _ in 0..size >> 20 {
            match std::io::Write::write_all(&mut &file, &zeros) {
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                other => other.context("can't fill a disk")?,
            }
        }
        Ok(())
    }

    /// Ends a [`fill`](Self::fill).
    ///
    /// # Errors
    /// When it was not filled.
    pub fn make_room(&self) -> Result<()> {
        std::fs::remove_file(&self.filler).context("it was not filled")
    }
}

fn free(place: &Path) -> Result<u64> {
    let found = rustix::fs::statvfs(place)?;
    Ok(found.f_bavail * found.f_frsize)
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // It ends with the namespace at the latest.
        let _ = system::run("umount", [Path::new("--lazy"), self.place.as_path()]);
    }
}
