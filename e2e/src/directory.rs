//! A rig's directory: everything that its programs write is below it, and a watchdog ends them and removes it, in
//! whatever way the rig's owner ends.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::program::Program;
use crate::watchdog::{MARK, Watchdog};

/// The directory. Dropped, it is removed, after all that runs in it was killed.
#[derive(Debug)]
pub struct RigDirectory {
    path: PathBuf,
    id: String,
    _watchdog: Watchdog,
}

impl RigDirectory {
    /// A new directory in `parent`, which is made when it is not there.
    ///
    /// # Errors
    /// When it can't be made, or nothing can watch over it.
    pub fn new(parent: &Path) -> Result<Self> {
        let made = std::fs::create_dir_all(parent)
            .and_then(|()| tempfile::Builder::new().prefix("chv-").tempdir_in(parent));
        let path = made
            .with_context(|| format!("can't make a directory for the rig in {}", parent.display()))?
            .keep();
        let id = path.file_name().context("a directory has a name")?;
        let id = id.to_string_lossy().into_owned();
        let watchdog = Watchdog::start(&id, &path)?;
        Ok(Self {
            path,
            id,
            _watchdog: watchdog,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The environment variable by which the watchdog knows the rig's processes.
    pub fn mark(&self) -> (String, String) {
        (MARK.to_owned(), self.id.clone())
    }

    /// A program of this rig that does not run yet; what it says goes to `<name>.log` in the directory.
    pub fn program(&self, name: &str, binary: PathBuf) -> Program {
        Program::new(name, binary, &self.path).env(MARK, &self.id)
    }
}
