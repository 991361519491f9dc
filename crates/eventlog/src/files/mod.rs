//! The small files and the directory of a replica: who it is, what it voted, and that nobody else has it open.
//!
//! Each small file is replaced whole: written aside, flushed, renamed, and the directory flushed, so that after
//! a crash either the old or the new one is there.

mod hint;
mod identity;
mod room;

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use chv_domain::stored::{self, StoredError};
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use hint::CommittedHint;
pub use identity::IdentityError;
pub(crate) use identity::{Identity, LAYOUT};
pub use room::NoRoom;
pub(crate) use room::Room;

/// A directory whose entries can be made to last.
#[derive(Debug)]
pub(crate) struct Dir {
    path: PathBuf,
    handle: File,
}

/// Why a small file can't be read or replaced.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// What is there is not what was written.
    #[error("{path}: {source}; restore the directory from a backup; without one, this replica is lost")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: StoredError,
    },
}

impl Dir {
    /// Opens `path`, making it when it is not there.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        Ok(Self {
            path: path.to_owned(),
            handle: File::open(path)?,
        })
    }

    /// Opens `path`, which has to be there.
    pub(crate) fn existing(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            handle: File::open(path)?,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes creations, removals and renames in it last.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    /// Keeps every other process out, for as long as this value lives.
    pub(crate) fn lock(&self) -> io::Result<()> {
        flock(&self.handle, FlockOperation::NonBlockingLockExclusive).map_err(io::Error::from)
    }

    /// Whether its file system takes no writes. Tried, since a kernel that gave a file system up need not say so.
    pub(crate) fn is_read_only(&self) -> bool {
        let path = self.path.join("tried");
        let tried = File::create(&path).and_then(|_| std::fs::remove_file(&path));
        tried.is_err_and(|error| error.kind() == io::ErrorKind::ReadOnlyFilesystem)
    }

    /// Replaces the file `name` by `value`.
    pub(crate) fn replace<T: Serialize>(&self, name: &str, value: &T) -> Result<(), FileError> {
        let path = self.path.join(name);
        let bytes = stored::encode(value).map_err(|source| FileError::Damaged {
            path: path.clone(),
            source,
        })?;
        let replaced = || {
            let aside = self.path.join(format!("{name}.new"));
            let mut file = File::create(&aside)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::rename(&aside, &path)?;
            self.sync()
        };
        replaced().map_err(|source| FileError::Io {
            path: path.clone(),
            source,
        })
    }

    /// Reads the file `name`; `None` when there is none.
    pub(crate) fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, FileError> {
        let path = self.path.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => stored::decode(&bytes)
                .map(Some)
                .map_err(|source| FileError::Damaged { path, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(FileError::Io { path, source }),
        }
    }
}

/// A directory that takes no time to flush, where there is one, for tests that open thousands of changed files.
#[cfg(test)]
pub(crate) fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().expect("a temporary directory"))
}
