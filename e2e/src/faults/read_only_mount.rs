//! A directory that can't be written for a while, though whoever has files open there may write on in them: as where the
//! file system's server takes no writes for now.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::system;

/// The directory, mounted read-only over itself. Dropped, it can be written again.
#[derive(Debug)]
pub struct ReadOnlyMount(PathBuf);

impl ReadOnlyMount {
    /// From now on `place` can only be read. To be called [in own namespaces](super::in_own_namespaces).
    ///
    /// # Errors
    /// When it can't be mounted.
    pub fn over(place: PathBuf) -> Result<Self> {
        system::run("mount", [Path::new("--bind"), &place, &place])?;
        // From here on it is unmounted, whatever comes.
        let mounted = Self(place);
        system::run("mount", [Path::new("-oremount,bind,ro"), &mounted.0])?;
        Ok(mounted)
    }
}

impl Drop for ReadOnlyMount {
    fn drop(&mut self) {
        // It ends with the namespace at the latest.
        let _ = system::run("umount", [Path::new("--lazy"), self.0.as_path()]);
    }
}
