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

use super::{end, note};
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
/// When the directory can't be used at all. What fails later is tried again.
pub fn run(shared: &Shared, daemon: u32) -> io::Result<()> {
    // The kernel ends others first when memory is short. Only root may ask for that.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-1000");
    let daemon = Process::of(daemon)?;
    std::fs::write(shared.newest(), std::process::id().to_string())?;
    let mut told = false;
    loop {
        let alone = match &daemon {
            Some(daemon) => daemon.has_ended()?.is_some(),
            None => true,
        };
        if alone && is_replaced(shared) {
            return Ok(());
        }
        let held = note::read(&shared.note()).is_some_and(|until| note::now() < until);
        if held {
            told = false;
        } else {
            match end::kill_all(&shared.vms) {
                Ok(0) if alone => return Ok(()),
                Ok(0) => {}
                Ok(running) if !told => {
                    tracing::warn!(
                        running,
                        "the lease has ended, and so have the guests that ran under it"
                    );
                    told = true;
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(%error, "guests whose lease has ended can't be ended; tried again")
                }
            }
        }
        std::thread::sleep(LOOK);
    }
}

/// Whether a newer guard runs.
fn is_replaced(shared: &Shared) -> bool {
    let newest = std::fs::read_to_string(shared.newest())
        .ok()
        .and_then(|text| text.parse::<u32>().ok());
    newest.is_some_and(|pid| pid != std::process::id() && matches!(Process::of(pid), Ok(Some(_))))
}
