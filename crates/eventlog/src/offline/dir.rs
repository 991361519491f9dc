//! A data directory that no process has open: locked for as long as it is looked at.

use std::io;
use std::path::{Path, PathBuf};

use chv_domain::{ClusterId, ReplicaId};

use crate::files::{Dir, FileError, Identity, IdentityError};

/// Why a data directory can't be looked at.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// It is none, or its identity does not read.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A process has it open.
    #[error("{0} is in use by a process: stop that replica first, or look at a copy of the directory")]
    InUse(PathBuf),
    /// The file system.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A replica's data directory that no process has open. None can open it while this lives.
#[derive(Debug)]
pub struct ClosedDir {
    dir: Dir,
    identity: Identity,
}

impl ClosedDir {
    /// Takes the directory at `path`. Changes nothing in it.
    pub fn open(path: &Path) -> Result<Self, OfflineError> {
        let io = |source| OfflineError::Io {
            path: path.to_owned(),
            source,
        };
        let dir = match Dir::existing(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(IdentityError::Missing(path.to_owned()).into());
            }
            opened => opened.map_err(io)?,
        };
        let identity = Identity::read(&dir)?;
        dir.lock().map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => OfflineError::InUse(path.to_owned()),
            _ => io(error),
        })?;
        Ok(Self { dir, identity })
    }

    /// The cluster that it belongs to.
    pub fn cluster(&self) -> ClusterId {
        self.identity.cluster
    }

    /// The replica that it belongs to.
    pub fn replica(&self) -> ReplicaId {
        self.identity.replica
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn dir(&self) -> &Dir {
        &self.dir
    }
}

impl OfflineError {
    /// Whether something was written there once and does not read now.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Identity(IdentityError::File(FileError::Damaged { .. }))
        )
    }
}
