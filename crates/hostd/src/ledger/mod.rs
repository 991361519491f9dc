//! What the daemon notes so that its next life knows it: how far it followed, and of each VM the highest grant,
//! the process, its user, and what is still to be reported. The only module that knows sled.
//!
//! Nothing here is the only copy: processes hold the locks of their run directories, and a VM's directory names
//! its grant. So a ledger that can't be read is put aside, and built again from those.

mod marker;
mod note;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;

use std::fs::{File, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chv_domain::stored::{self, StoredError};
use chv_domain::{Seq, VmId};
use tokio::sync::Mutex;

pub use marker::Marker;
pub use note::{Noted, VmNote};

/// Larger values can go to files that sled never syncs.
const MAX_VALUE: usize = 4096;

/// How long another process, or this one before, may take to let go of it.
const LET_GO: Duration = Duration::from_secs(5);

const FEED: &[u8] = b"feed";

/// The ledger, open.
#[derive(Debug, Clone)]
pub struct Ledger {
    db: sled::Db,
    vms: sled::Tree,
    users: sled::Tree,
    flushing: Arc<Flushing>,
}

/// One flush at a time, for all who wait: sled's flushes wait for threads of the same small pool that they run in,
/// so that a few at once wait for each other for ever.
#[derive(Debug, Default)]
struct Flushing {
    /// How many changes were made.
    made: AtomicU64,
    /// How many of these were flushed.
    flushed: Arc<Mutex<u64>>,
}

/// A fault of the ledger.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// sled's word.
    #[error("the ledger: {0}")]
    Sled(#[from] sled::Error),
    /// A flush was not done.
    #[error("the ledger is not flushed: {0}")]
    Flush(#[from] io::Error),
    /// A value can't be written.
    #[error("the ledger's note of {vm} has {size} bytes; at most {MAX_VALUE} fit")]
    TooLarge {
        /// Whose.
        vm: VmId,
        /// How large.
        size: usize,
    },
    /// A value is not what was written.
    #[error("the ledger: {0}")]
    Stored(#[from] StoredError),
    /// Another process has it open.
    #[error(
        "the ledger {path} stays in use by another process; is another chv-hostd running on this directory?"
    )]
    InUse {
        /// The ledger.
        path: PathBuf,
    },
    /// The damaged ledger can't be put aside.
    #[error("the damaged ledger {path} can't be put aside: {source}; move it away by hand")]
    PutAside {
        /// The ledger.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Ledger {
    /// Opens the ledger in `path`. When it is damaged, it is put aside and an empty one takes its place: then the
    /// second value says what was wrong. Blocks on the file system.
    pub fn open(path: &Path) -> Result<(Self, Option<String>), LedgerError> {
        // One that is in use is not damaged: sled lets go of its files a moment after it was closed.
        wait_until_free(path)?;
        let damage = match Self::open_intact(path) {
            Ok(ledger) => return Ok((ledger, None)),
            Err(damage) => damage,
        };
        put_aside(path).map_err(|source| LedgerError::PutAside {
            path: path.to_owned(),
            source,
        })?;
        Ok((
            Self::open_intact(path).map_err(sled::Error::Unsupported)?,
            Some(damage),
        ))
    }

    fn open_intact(path: &Path) -> Result<Self, String> {
        // sled panics on some damage.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let db = sled::Config::new().path(path).cache_capacity(8 << 20).open()?;
            let vms = db.open_tree("vms")?;
            let users = db.open_tree("users")?;
            let ledger = Self {
                db,
                vms,
                users,
                flushing: Arc::default(),
            };
            ledger.feed()?;
            ledger.notes()?;
            ledger.users()?;
            Ok::<_, LedgerError>(ledger)
        }));
        match opened {
            Ok(Ok(ledger)) => Ok(ledger),
            Ok(Err(error)) => Err(error.to_string()),
            Err(panic) => Err(panic
                .downcast_ref::<String>()
                .cloned()
                .unwrap_or_else(|| "sled panicked".to_owned())),
        }
    }

    /// How far the feed was followed; zero when that is not known.
    pub fn feed(&self) -> Result<Seq, LedgerError> {
        Ok(match self.db.get(FEED)? {
            Some(bytes) => stored::decode(&bytes)?,
            None => Seq::ZERO,
        })
    }

    /// Notes how far the feed was followed. Not flushed: a position that is too low costs one question.
    pub fn set_feed(&self, feed: Seq) -> Result<(), LedgerError> {
        self.db.insert(FEED, stored::encode(&feed)?)?;
        Ok(())
    }

    /// All notes.
    pub fn notes(&self) -> Result<Vec<(VmId, VmNote)>, LedgerError> {
        of_vms(&self.vms)
    }

    /// The users that VMs' processes are.
    pub fn users(&self) -> Result<Vec<(VmId, u32)>, LedgerError> {
        of_vms(&self.users)
    }

    /// Notes the user that the process of `vm` is, until the VM is struck out. Flushed with the next note.
    pub fn set_user(&self, vm: VmId, user: u32) -> Result<(), LedgerError> {
        self.users.insert(vm.to_bytes(), stored::encode(&user)?)?;
        Ok(())
    }

    /// The note of `vm`; `None` when there is none.
    pub fn note(&self, vm: VmId) -> Result<Option<VmNote>, LedgerError> {
        let value = self.vms.get(vm.to_bytes())?;
        Ok(value.map(|value| stored::decode(&value)).transpose()?)
    }

    /// Notes what is known of `vm`; when this returns, it survives the end of this process.
    pub async fn put(&self, vm: VmId, note: &VmNote) -> Result<(), LedgerError> {
        let value = stored::encode(note)?;
        if value.len() > MAX_VALUE {
            return Err(LedgerError::TooLarge {
                vm,
                size: value.len(),
            });
        }
        self.vms.insert(vm.to_bytes(), value)?;
        self.flush().await
    }

    /// Strikes out what is noted of `vm`.
    pub async fn remove(&self, vm: VmId) -> Result<(), LedgerError> {
        self.vms.remove(vm.to_bytes())?;
        self.users.remove(vm.to_bytes())?;
        self.flush().await
    }

    /// Waits until everything noted is written.
    pub async fn close(&self) -> Result<(), LedgerError> {
        self.flush().await
    }

    /// Waits until every change made before is written.
    async fn flush(&self) -> Result<(), LedgerError> {
        let own = self.flushing.made.fetch_add(1, Ordering::SeqCst) + 1;
        let mut flushed = self.flushing.flushed.clone().lock_owned().await;
        if *flushed >= own {
            return Ok(());
        }
        let this = self.clone();
        // The lock goes with the flush, which goes on when its caller does not.
        let flush = tokio::task::spawn_blocking(move || {
            let made = this.flushing.made.load(Ordering::SeqCst);
            this.db.flush()?;
            *flushed = made;
            Ok(())
        });
        flush
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error).into()))
    }
}

fn of_vms<T: serde::de::DeserializeOwned>(tree: &sled::Tree) -> Result<Vec<(VmId, T)>, LedgerError> {
    tree.iter()
        .map(|entry| {
            let (key, value) = entry?;
            let key =
                <[u8; 16]>::try_from(&*key).map_err(|_| StoredError::Body("a key is no VM id".to_owned()))?;
            Ok((VmId::from_bytes(key), stored::decode(&value)?))
        })
        .collect()
}

/// Waits until no process holds sled's lock of the ledger. Blocks.
fn wait_until_free(path: &Path) -> Result<(), LedgerError> {
    // Where there is none, or it does not open, sled makes one or says what is wrong.
    let Ok(file) = File::open(path.join("db")) else {
        return Ok(());
    };
    let until = Instant::now() + LET_GO;
    while Instant::now() < until {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(()),
        }
    }
    let path = path.to_owned();
    Err(LedgerError::InUse { path })
}

/// Moves a damaged ledger away. Only the last one is kept: it is for people to look at.
fn put_aside(path: &Path) -> io::Result<()> {
    let aside = path.with_extension("damaged");
    match std::fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::rename(path, &aside)
}
