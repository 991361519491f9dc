//! A file system that is frozen: nothing is written to it until it is thawed.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::system;

/// A file system on which nothing is written, until this is dropped.
pub(super) struct Frozen(PathBuf);

impl Frozen {
    /// Writes what is to be written to the one at `place`, and freezes it.
    pub(super) fn new(place: PathBuf) -> Result<Self> {
        system::run("fsfreeze", [Path::new("--freeze"), place.as_path()])?;
        Ok(Self(place))
    }

    pub(super) fn thaw(self) -> Result<()> {
        let place = std::mem::ManuallyDrop::new(self);
        system::run("fsfreeze", [Path::new("--unfreeze"), place.0.as_path()])
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if let Err(error) = system::run("fsfreeze", [Path::new("--unfreeze"), self.0.as_path()]) {
            eprintln!("{error:#}");
        }
    }
}
