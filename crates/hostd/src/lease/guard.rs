//! The guard: a process of its own that ends the guests of a host whose lease has ended, also when the host's daemon is
//! dead or stands still. It reads when that is from the daemon's note, and needs nobody to tell it.
//!
//! One of a daemon's own follows each daemon. It ends when its daemon has, and either another guard has taken over or
//! the lease has ended and no guest is left. What it doesn't cover is in docs/adr/0026.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::end::LeasedGuests;
use super::note;
use crate::hypervisor::Process;

/// How often the note is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Where the files are that guard and daemon share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The daemon's directory.
    pub data: PathBuf,
    /// The directories of its VMs.
    pub vms: PathBuf,
}

impl Shared {
    pub(super) fn note(&self) -> PathBuf {
        self.data.join("lease")
    }

    /// The number of the newest guard's process.
    fn newest(&self) -> PathBuf {
        self.data.join("guard")
    }

    fn log(&self) -> PathBuf {
        self.data.join("guard.log")
    }
}

/// Starts a guard that outlives this process.
pub(super) fn start(program: &Path, shared: &Shared) -> io::Result<Child> {
    let log = File::create(shared.log())?;
    Command::new(program)
        .arg("guard")
        .arg("--data")
        .arg(&shared.data)
        .arg("--daemon")
        .arg(std::process::id().to_string())
        .env_clear()
        .current_dir(&shared.data)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .process_group(0)
        .spawn()
}

/// Guards until nothing is left to guard. `daemon` is the process that started it.
///
/// # Errors
/// When it can't be told what `daemon` is. What fails later is tried again.
pub fn run(shared: &Shared, daemon: u32) -> io::Result<()> {
    // The kernel ends others first when memory is short. Only root may ask for that.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-1000");
    let daemon = Process::of(daemon)?;
    // Without the note the guard before this one guards on beside it.
    if let Err(error) = std::fs::write(shared.newest(), std::process::id().to_string()) {
        tracing::warn!(%error, "an earlier guard is not told that this one runs");
    }
    let guests = LeasedGuests::new(shared.vms.clone());
    let over = || note::read(&shared.note()).is_none_or(|until| until <= note::now());
    let mut told = false;
    loop {
        let alone = daemon.as_ref().is_none_or(is_gone);
        if alone && is_replaced(shared) {
            return Ok(());
        }
        if over() {
            match guests.kill(over) {
                0 if alone => return Ok(()),
                running @ 1.. if !told => {
                    tracing::warn!(running, "the lease has ended: guests that ran under it are ended");
                    told = true;
                }
                _ => {}
            }
        } else {
            told = false;
        }
        std::thread::sleep(LOOK);
    }
}

/// Whether the daemon is known to have ended. While that can't be told, it is guarded on.
fn is_gone(daemon: &Process) -> bool {
    matches!(daemon.has_ended(), Ok(Some(_)))
}

/// Whether a newer guard runs.
fn is_replaced(shared: &Shared) -> bool {
    let newest = std::fs::read_to_string(shared.newest())
        .ok()
        .and_then(|text| text.parse::<u32>().ok());
    newest.is_some_and(|pid| pid != std::process::id() && matches!(Process::of(pid), Ok(Some(_))))
}
