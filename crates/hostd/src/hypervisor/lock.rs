//! The lock on a run directory: held by the hypervisor's process from before its program starts until it
//! ends, however it ends. So one VM never has two processes, and a restarted daemon finds the one it has,
//! with nothing to write down.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::path::Path;

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Flock, FlockType, fcntl_getlk};

/// A run directory's lock file, open; not yet locked.
pub(super) struct LockFile(File);

impl LockFile {
    /// Opens the lock file at `path`, and makes it where there is none.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        Self::open_with(OpenOptions::new().create(true).truncate(false), path)
    }

    /// Opens the lock file at `path`; `None` where there is none.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        match Self::open_with(&mut OpenOptions::new(), path) {
            Ok(lock) => Ok(Some(lock)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn open_with(options: &mut OpenOptions, path: &Path) -> io::Result<Self> {
        Ok(Self(options.read(true).write(true).open(path)?))
    }

    /// The process that holds the lock; `None` when no process does.
    pub(super) fn holder(&self) -> io::Result<Option<u32>> {
        match fcntl_getlk(&self.0, &Flock::from(FlockType::WriteLock))? {
            None => Ok(None),
            Some(Flock { pid: Some(pid), .. }) => Ok(Some(pid.as_raw_nonzero().get().unsigned_abs())),
            Some(Flock { pid: None, .. }) => Err(io::Error::other(
                "the lock is held by a process that this daemon can't see",
            )),
        }
    }

    /// The descriptor, for [`take`].
    pub(super) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Takes the lock for this process, and keeps `file` open when it becomes another program. Fails when another
/// process holds it. The lock is lost when this process closes any descriptor of the file: it must have no other.
pub(crate) fn take(file: BorrowedFd<'_>) -> io::Result<()> {
    fcntl_lock(file, FlockOperation::NonBlockingLockExclusive)?;
    fcntl_setfd(file, FdFlags::empty())?;
    Ok(())
}
