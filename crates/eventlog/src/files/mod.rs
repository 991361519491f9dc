//! The small files and the directory of a replica: who it is, what it voted, and that nobody else has it open.
//!
//! Each small file is replaced whole: written aside, flushed, renamed, and the directory flushed, so that after
//! a crash either the old or the new one is there.

mod disk;
mod hint;
mod identity;
mod piecewise;

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use chv_domain::stored::{self, StoredError};
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use disk::DiskTrouble;
pub(crate) use disk::{Disk, DiskError};
pub(crate) use hint::CommittedHint;
pub use identity::IdentityError;
pub(crate) use identity::{Identity, LAYOUT};
pub(crate) use piecewise::{Haste, PIECE, Piecewise};

/// An empty file that can be read and written, in the place of one that may be there. Blocks.
pub(crate) fn empty(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
}

/// A directory whose entries can be made to last, and what is known of its disk.
#[derive(Debug)]
pub(crate) struct Dir {
    path: PathBuf,
    handle: File,
    disk: Disk,
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

impl DiskError for FileError {
    fn is_read_only(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.is_read_only(),
            Self::Damaged { .. } => false,
        }
    }
}

impl Dir {
    /// Opens `path`, making it when it is not there.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        Self::existing(path)
    }

    /// Opens its directory `name`, on the same disk, making it when it is not there.
    pub(crate) fn below(&self, name: &str) -> io::Result<Self> {
        let disk = self.disk.clone();
        Ok(Self {
            disk,
            ..Self::open(&self.path.join(name))?
        })
    }

    /// Opens `path`, which has to be there.
    pub(crate) fn existing(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            handle: File::open(path)?,
            disk: Disk::of(path),
        })
    }

    /// The disk that it is on.
    pub(crate) fn disk(&self) -> &Disk {
        &self.disk
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

    /// Whether its file system takes no writes.
    pub(crate) fn is_read_only(&self) -> bool {
        disk::is_read_only(&self.path)
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
