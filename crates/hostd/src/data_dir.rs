//! Where the daemon keeps what is its own, and who it is: `identity`, `cluster`, `lock`, `ledger/`,
//! `probe.json`, `kernels/` and `vms/<vm id>/`. One daemon at a time has it. Nothing here knows what is in the ledger or in a VM's directory.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chv_domain::{HostId, VmId};

use crate::cluster::Membership;
use crate::hypervisor::{RunDir, RunDirError};
use crate::lease::guard::Shared;
use crate::version::{self, Unreadable};

/// The directory of uncompressed kernels, in a daemon's directory.
pub(crate) const KERNELS: &str = "kernels";

/// How long another holder of the directory is waited for, and how often it is looked.
const LOCK_LIMIT: Duration = Duration::from_secs(2);
const LOCK_LOOK: Duration = Duration::from_millis(10);

/// A daemon's directory, held by this daemon until it is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    host: HostId,
    _held: File,
}

/// Why a directory can't be the daemon's.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Something on the disk.
    #[error("{path}: {source}; --data must be a directory that this user can write to")]
    Io {
        /// What was tried.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another daemon has it.
    #[error("{0} is in use by another chv-hostd; end that one first, or give this one a --data of its own")]
    InUse(PathBuf),
    /// Its path leaves no room for the sockets.
    #[error(transparent)]
    TooLong(#[from] RunDirError),
    /// The identity file has something else in it.
    #[error("{path} {source}; it is `1 <id>`, with the id that `chv host list -o json` shows for this host")]
    Identity {
        /// The file.
        path: PathBuf,
        /// Why it is no identity.
        source: Unreadable,
    },
    /// The file that names this host's cluster has something else in it.
    #[error("{path} {source}; the same file on another host of this cluster says what it is")]
    Cluster {
        /// The file.
        path: PathBuf,
        /// Why it names no cluster.
        source: Unreadable,
    },
}

impl DataDir {
    /// Opens `path`, and makes it where there is none: with the identity that `new_id` gives. Blocks: on the file
    /// system, and up to two seconds for another daemon to end.
    pub fn open(path: &Path, new_id: impl FnOnce() -> HostId) -> Result<Self, DataDirError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| DataDirError::Io { path, source }
        };
        let path = std::path::absolute(path).map_err(at(path))?;
        let vms = path.join("vms");
        // As long as any VM's: said now, and not when the first one comes.
        RunDir::new(vms.join(VmId::from_bytes([0; 16]).to_string()))?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&vms)
            .map_err(at(&vms))?;
        // Links followed, as the system shows where a process is.
        let path = path.canonicalize().map_err(at(&path))?;
        RunDir::new(path.join("vms").join(VmId::from_bytes([0; 16]).to_string()))?;
        let lock = path.join("lock");
        let held = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock)
            .map_err(at(&lock))?;
        match wait_for_lock(&held) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DataDirError::InUse(path)),
            Err(TryLockError::Error(source)) => return Err(DataDirError::Io { path: lock, source }),
        }
        let host = identity(&path.join("identity"), new_id)?;
        Ok(Self {
            path,
            host,
            _held: held,
        })
    }

    /// This host's id.
    pub const fn host(&self) -> HostId {
        self.host
    }

    /// What this host knows of its cluster. Blocks on the file system.
    pub fn membership(&self) -> Result<Membership, DataDirError> {
        Membership::read(&self.path.join("cluster"))
    }

    /// What the daemon and its guard share.
    pub fn lease(&self) -> Shared {
        Shared {
            data: self.path.clone(),
            vms: self.vms(),
        }
    }

    /// The ledger's directory.
    pub fn ledger(&self) -> PathBuf {
        self.path.join("ledger")
    }

    /// Where uncompressed kernels are kept. Whatever is missing is made again.
    pub fn kernels(&self) -> PathBuf {
        self.path.join(KERNELS)
    }

    /// What the last check of this host's hypervisors found.
    pub fn probe_cache(&self) -> PathBuf {
        self.path.join("probe.json")
    }

    /// Where probe guests run.
    pub fn probes(&self) -> PathBuf {
        self.path.join("probe")
    }

    /// Where it is tried out what this host can put VMs' processes behind.
    pub fn trial(&self) -> PathBuf {
        self.path.join("trial")
    }

    /// The directory that all VMs' directories are in.
    pub fn vms(&self) -> PathBuf {
        self.path.join("vms")
    }

    /// The directory of one VM.
    pub fn run_dir(&self, vm: VmId) -> RunDir {
        RunDir::new(self.vms().join(vm.to_string()))
            .expect("`open` has checked that a VM's directory is short enough")
    }

    /// The VMs that have a directory.
    pub fn vms_on_disk(&self) -> io::Result<Vec<VmId>> {
        let mut vms = Vec::new();
        for entry in std::fs::read_dir(self.vms())? {
            vms.extend(
                entry?
                    .file_name()
                    .to_str()
                    .and_then(|name| name.parse::<VmId>().ok()),
            );
        }
        Ok(vms)
    }
}

/// Locks it. A hypervisor that a killed daemon was about to start holds what that daemon held open, the lock and the
/// ledger, until its own program begins: so it is waited for a little.
fn wait_for_lock(file: &File) -> Result<(), TryLockError> {
    let until = Instant::now() + LOCK_LIMIT;
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(LOCK_LOOK),
            locked => return locked,
        }
    }
}

fn identity(path: &Path, new_id: impl FnOnce() -> HostId) -> Result<HostId, DataDirError> {
    let at = |source| DataDirError::Io {
        path: path.to_owned(),
        source,
    };
    match std::fs::read_to_string(path) {
        Ok(text) => version::of_line(&text).map_err(|source| DataDirError::Identity {
            path: path.to_owned(),
            source,
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = new_id();
            write_durably(path, version::line(id).as_bytes()).map_err(at)?;
            Ok(id)
        }
        Err(error) => Err(at(error)),
    }
}

/// Writes the whole file or nothing of it, so that it survives a loss of power.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: HostId = HostId::from_bytes([7; 16]);

    #[test]
    fn golden_identity_of_a_new_directory_is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(&dir.path().join("h1"), || ID).unwrap();
        assert_eq!(data.host(), ID);
        version::assert_golden(
            "identity",
            &std::fs::read(dir.path().join("h1/identity")).unwrap(),
        );
        drop(data);
        let again = DataDir::open(&dir.path().join("h1"), || panic!("made twice")).unwrap();
        assert_eq!(again.host(), ID);
        assert_eq!(again.vms_on_disk().unwrap(), []);
    }

    #[test]
    fn given_a_directory_in_use_then_a_second_daemon_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let _held = DataDir::open(dir.path(), || ID).unwrap();
        assert!(matches!(
            DataDir::open(dir.path(), || ID),
            Err(DataDirError::InUse(_))
        ));
    }

    #[test]
    fn given_a_path_that_leaves_no_room_for_sockets_then_it_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let long = dir.path().join("x".repeat(80));
        let error = DataDir::open(&long, || ID).unwrap_err();
        assert!(error.to_string().contains("shorter data directory"), "{error}");
        assert!(!long.exists());
    }

    #[test]
    fn given_an_identity_that_is_none_or_of_a_newer_version_then_it_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity");
        for text in ["hello".to_owned(), format!("2 {ID} and more")] {
            std::fs::write(&path, &text).unwrap();
            assert!(matches!(
                DataDir::open(dir.path(), || ID),
                Err(DataDirError::Identity { .. })
            ));
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }
}
