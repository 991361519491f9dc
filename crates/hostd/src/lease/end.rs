//! Ends the guests that run under a host's lease, and no other: by their directories, which say what runs there and are
//! held by their processes. The daemon and the guard do this, each by itself. Blocks.
//!
//! Each guest is ended by itself: one of which nothing can be told, or that can't be ended, keeps none of the others.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chv_domain::VmId;
use chv_domain::spec::OnHostLoss;

use super::asks;
use crate::hypervisor::{Held, Instance, Process, RunDir};

/// How often it is looked whether they have ended.
const LOOK: Duration = Duration::from_millis(10);

/// The guests of a host that run under its lease.
#[derive(Debug)]
pub(super) struct LeasedGuests {
    vms: PathBuf,
    /// The directories of which it was told that something is wrong there. It is told once until they are well.
    told: Mutex<BTreeSet<PathBuf>>,
}

impl LeasedGuests {
    /// Those that have their directories in `vms`.
    pub(super) const fn new(vms: PathBuf) -> Self {
        Self {
            vms,
            told: Mutex::new(BTreeSet::new()),
        }
    }

    /// Kills each of them that runs, as long as the lease is `over`; says how many still did, or may have. Doesn't wait
    /// for their ends.
    pub(super) fn kill(&self, over: impl Fn() -> bool) -> usize {
        self.kill_with(over, end)
    }

    fn kill_with(&self, over: impl Fn() -> bool, end: impl Fn(&Process) -> io::Result<bool>) -> usize {
        let (dirs, listed) = self.leased();
        if let Err(error) = &listed {
            self.tell(&self.vms, error);
        }
        let run = |dir: &&RunDir| match self.ended(dir, &over, &end) {
            Ok(true) => {
                self.told().remove(dir.path());
                false
            }
            Ok(false) => true,
            Err(error) => {
                self.tell(dir.path(), &error);
                true
            }
        };
        dirs.iter().filter(run).count() + usize::from(listed.is_err())
    }

    /// Kills all of them and waits until they have ended, for `limit` at most. Whether they have.
    pub(super) fn end(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.kill(|| true) > 0 {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(LOOK);
        }
        true
    }

    /// Whether any of them runs, or may.
    pub(super) fn any_runs(&self) -> bool {
        let (dirs, listed) = self.leased();
        let free = |dir: &RunDir| matches!(Instance::holds(dir), Ok(Held::Free));
        listed.is_err() || !dirs.iter().all(free)
    }

    /// The directories of VMs that ask for failover, and of those of which that can't be told. As many as can be
    /// listed, and whether these are all.
    fn leased(&self) -> (Vec<RunDir>, io::Result<()>) {
        let mut found = Vec::new();
        let listed = std::fs::read_dir(&self.vms).and_then(|entries| {
            for entry in entries {
                let entry = entry?;
                let name = entry.file_name();
                let (true, Ok(dir)) = (is_vm(&name), RunDir::new(entry.path())) else {
                    continue;
                };
                if !matches!(asks::read(&dir), Ok(OnHostLoss::Stay)) {
                    found.push(dir);
                }
            }
            Ok(())
        });
        (found, listed)
    }

    /// Kills what runs in `dir` when the lease is `over`; whether nothing does any more.
    fn ended(
        &self,
        dir: &RunDir,
        over: impl Fn() -> bool,
        end: impl Fn(&Process) -> io::Result<bool>,
    ) -> io::Result<bool> {
        match Instance::holds(dir)? {
            Held::Free => Ok(true),
            // After the process was found: one that was started under a newer grant is found only when that has been
            // noted.
            Held::Machine(_, _, process) if over() => {
                // It may be another host's: better ended for nothing than at two places.
                if let Err(error) = asks::read(dir) {
                    self.tell(dir.path(), &error);
                }
                end(&process)
            }
            Held::Machine(..) => Ok(false),
            Held::Other(other) if other.is_changing() => Ok(false),
            Held::Other(other) => Err(other.error(dir)),
        }
    }

    fn tell(&self, dir: &Path, error: &io::Error) {
        if self.told().insert(dir.to_owned()) {
            let dir = dir.display();
            tracing::error!(%dir, %error, "the lease has ended, and something is wrong with a guest there; tried again until it has ended");
        }
    }

    fn told(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a VM's directory has this name.
fn is_vm(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.parse::<VmId>().is_ok())
}

/// Kills the process; whether it had ended before.
fn end(process: &Process) -> io::Result<bool> {
    // One that can't be looked at may be killed all the same.
    let ended = matches!(process.has_ended(), Ok(Some(_)));
    if !ended {
        process.kill()?;
    }
    Ok(ended)
}

#[cfg(test)]
mod tests;
