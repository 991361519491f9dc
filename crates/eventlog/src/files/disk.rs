//! What is known of the disk that a replica's data is on: whether there is room for more of the log, and whether it
//! can be written at all.
//!
//! A write that fails for want of room ends the process, so none may come to that: while less than a reserve is free,
//! nothing more is taken that makes the log grow. The reserve is for what goes on meanwhile: votes, membership, what is
//! on its way already, and the segment that is made ahead. What others write to the same disk is not foreseen.
//!
//! A file system that is read-only refuses a write and its flush instead of losing them, so what it refused is written
//! again, whole, once that is over ([`Disk::hold`]). No other failure is tried again: after a flush that failed, the
//! kernel may have dropped what it could not write, and the next flush would say that all is well.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::StatVfsMountFlags;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Between two looks at the disk, and two tries of what it refused.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// How many segments' worth of room is kept free.
const RESERVED_SEGMENTS: u64 = 3;

/// Why a replica's disk takes no more of the log: in words, with what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiskTrouble {
    /// There is too little room.
    #[error("{0}")]
    NearlyFull(String),
    /// Its file system takes no writes.
    #[error("{0}")]
    ReadOnly(String),
}

impl DiskTrouble {
    fn nearly_full(path: &Path, free: u64, reserve: u64) -> Self {
        let path = path.display();
        Self::NearlyFull(format!(
            "only {free} bytes are free in {path}, and {reserve} are kept for what can't wait; make room there: \
             nothing else is needed to go on"
        ))
    }

    fn read_only(path: &Path) -> Self {
        let path = path.display();
        Self::ReadOnly(format!(
            "the file system of {path} is read-only: look in the kernel's log for why; it goes on once it can be \
             written, and where that needs it to be unmounted, end the replica and start it again after"
        ))
    }

    fn is_read_only(&self) -> bool {
        matches!(self, Self::ReadOnly(_))
    }
}

/// A failure that may be a read-only file system's.
pub(crate) trait DiskError {
    /// Whether it is.
    fn is_read_only(&self) -> bool;
}

impl DiskError for io::Error {
    fn is_read_only(&self) -> bool {
        self.kind() == io::ErrorKind::ReadOnlyFilesystem
    }
}

/// The disk, as it was when it was looked at or written last. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Disk(Arc<Known>);

#[derive(Debug)]
struct Known {
    path: PathBuf,
    seen: watch::Sender<Option<DiskTrouble>>,
    /// Nothing is held any more.
    closed: CancellationToken,
}

impl Disk {
    /// The disk that `path` is on, of which no trouble is known.
    pub(crate) fn of(path: &Path) -> Self {
        Self(Arc::new(Known {
            path: path.to_owned(),
            seen: watch::Sender::new(None),
            closed: CancellationToken::new(),
        }))
    }

    /// Fails while nothing is taken that makes the log grow.
    pub(crate) fn check(&self) -> Result<(), DiskTrouble> {
        self.0.seen.borrow().clone().map_or(Ok(()), Err)
    }

    /// Fails while nothing at all can be written.
    pub(crate) fn writable(&self) -> Result<(), DiskTrouble> {
        match &*self.0.seen.borrow() {
            Some(trouble) if trouble.is_read_only() => Err(trouble.clone()),
            Some(_) | None => Ok(()),
        }
    }

    /// Resolves when nothing can be written any more, with why.
    pub(crate) async fn turned_read_only(&self) -> DiskTrouble {
        self.until(|trouble| trouble.filter(|trouble| trouble.is_read_only()).cloned())
            .await
    }

    /// Resolves when the disk can be written.
    pub(crate) async fn turned_writable(&self) {
        self.until(|trouble| (!trouble.is_some_and(DiskTrouble::is_read_only)).then_some(()))
            .await
    }

    async fn until<T>(&self, seen: impl Fn(Option<&DiskTrouble>) -> Option<T>) -> T {
        let mut watched = self.0.seen.subscribe();
        loop {
            if let Some(found) = seen(watched.borrow_and_update().as_ref()) {
                return found;
            }
            watched.changed().await.expect("the sender is in `self`");
        }
    }

    /// Does `write`, however long the file system is read-only: then it is done again, from its beginning, until it is
    /// done, fails otherwise, or the replica ends. Blocks.
    pub(crate) fn hold<T, E: DiskError>(&self, mut write: impl FnMut() -> Result<T, E>) -> Result<T, E> {
        loop {
            match write() {
                Err(error) if error.is_read_only() && !self.0.closed.is_cancelled() => {
                    self.note(DiskTrouble::read_only(&self.0.path));
                    std::thread::sleep(LOOK_AGAIN);
                }
                done => return done,
            }
        }
    }

    /// Tells a write that was refused, and which is not missed, from one that failed.
    pub(crate) fn or_leave<E: DiskError>(&self, write: Result<(), E>) -> Result<(), E> {
        match write {
            Err(error) if error.is_read_only() => {
                self.note(DiskTrouble::read_only(&self.0.path));
                Ok(())
            }
            done => done,
        }
    }

    /// From now on a write that is refused fails.
    fn close(&self) {
        self.0.closed.cancel();
    }

    /// Looks once, and returns what goes on looking until `stop`, from when on a write that is refused fails. Room for some
    /// segments of `segment_size` bytes is the reserve.
    pub(crate) async fn look(
        &self,
        segment_size: u64,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<> {
        let reserve = segment_size * RESERVED_SEGMENTS;
        let disk = self.clone();
        disk.look_once(reserve).await;
        async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return disk.close(),
                    () = tokio::time::sleep(LOOK_AGAIN) => {}
                }
                disk.look_once(reserve).await;
            }
        }
    }

    async fn look_once(&self, reserve: u64) {
        let before = self.0.seen.borrow().clone();
        let (path, known) = (self.0.path.clone(), before.clone());
        let looking = tokio::task::spawn_blocking(move || look(&path, reserve, known.as_ref()));
        let Ok(now) = looking.await else {
            return;
        };
        match now {
            Some(trouble) => self.note(trouble),
            None => {
                // A write may have been refused since.
                let cleared = |seen: &mut Option<DiskTrouble>| *seen == before && seen.take().is_some();
                if self.0.seen.send_if_modified(cleared) {
                    info!(path = %self.0.path.display(), "the disk takes more of the log again");
                }
            }
        }
    }

    fn note(&self, trouble: DiskTrouble) {
        let is_news = |seen: &Option<DiskTrouble>| match seen {
            Some(known) => known.is_read_only() != trouble.is_read_only(),
            None => true,
        };
        self.0.seen.send_if_modified(|seen| {
            let news = is_news(seen);
            if news {
                warn!(%trouble, "no commands are taken");
            }
            *seen = Some(trouble.clone());
            news
        });
    }
}

/// What is wrong with the disk at `path`, as far as that shows.
fn look(path: &Path, reserve: u64, before: Option<&DiskTrouble>) -> Option<DiskTrouble> {
    // A disk that can't be asked is no reason to stop; a write to it tells.
    let Ok(found) = rustix::fs::statvfs(path) else {
        return before.cloned();
    };
    let was_read_only = before.is_some_and(DiskTrouble::is_read_only);
    if found.f_flag.contains(StatVfsMountFlags::RDONLY) || (was_read_only && is_read_only(path)) {
        return Some(DiskTrouble::read_only(path));
    }
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let was_short = before.is_some() && !was_read_only;
    is_short(free, reserve, was_short).then(|| DiskTrouble::nearly_full(path, free, reserve))
}

/// Whether the file system of the directory `path` takes no writes. Tried, since a kernel that gave a file system up need
/// not say so.
pub(crate) fn is_read_only(path: &Path) -> bool {
    let path = path.join("tried");
    let tried = File::create(&path).and_then(|_| std::fs::remove_file(&path));
    tried.is_err_and(|error| error.is_read_only())
}

/// Whether `free` bytes are too few. Once they are, a quarter more than the reserve is wanted, so that it does not go to
/// and fro.
fn is_short(free: u64, reserve: u64, was_short: bool) -> bool {
    let wanted = if was_short { reserve + reserve / 4 } else { reserve };
    free < wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_down_to_the_reserve_and_again_a_quarter_above_it() {
        assert!(!is_short(100, 100, false));
        assert!(is_short(99, 100, false));
        assert!(is_short(124, 100, true));
        assert!(!is_short(125, 100, true));
    }

    #[test]
    fn what_a_read_only_disk_refused_is_done_again_from_its_beginning_and_other_failures_are_told() {
        // Given a disk that refuses two writes,
        let disk = Disk::of(Path::new("/"));
        let mut refusals = 2;
        let mut began = 0;
        // when one is held, then it is done in the end,
        let done = disk.hold(|| {
            began += 1;
            match refusals {
                0 => Ok("done"),
                _ => {
                    refusals -= 1;
                    Err(io::Error::from(io::ErrorKind::ReadOnlyFilesystem))
                }
            }
        });
        assert_eq!((done.unwrap(), began), ("done", 3));
        // and it was told that nothing can be written meanwhile.
        assert!(disk.writable().is_err() && disk.check().is_err());

        // A failure of another kind is not tried again, nor is any once the replica ends.
        let failed = disk.hold(|| Err::<(), _>(io::Error::from_raw_os_error(5)));
        assert_eq!(failed.unwrap_err().raw_os_error(), Some(5));
        disk.close();
        let refused = disk.hold(|| Err::<(), _>(io::Error::from(io::ErrorKind::ReadOnlyFilesystem)));
        assert!(refused.unwrap_err().is_read_only());
    }

    #[tokio::test]
    async fn a_look_ends_what_a_write_told_once_the_disk_can_be_written() {
        // Given a disk that refused a write, and can be written again,
        let temp = tempfile::tempdir().unwrap();
        let disk = Disk::of(temp.path());
        let refused = Err(io::Error::from(io::ErrorKind::ReadOnlyFilesystem));
        disk.or_leave(refused).unwrap();
        assert!(disk.writable().is_err());
        // when it is looked at, then it is well.
        let _looking = disk.look(0, CancellationToken::new()).await;
        assert_eq!(disk.check(), Ok(()));
    }
}
