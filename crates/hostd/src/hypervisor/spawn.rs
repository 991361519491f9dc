//! Starts a hypervisor's process so that it outlives this daemon: in a session of its own, with nothing of
//! the daemon's open, holding its run directory's lock. Knows nothing of what the program is told afterwards.

use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use chv_domain::HypervisorKind;
use rustix::io::{FdFlags, fcntl_setfd};

use super::error::HypervisorError;
use super::instance::{Instance, marker};
use super::lock::{self, LockFile};
use super::machine::Machine;
use super::process::{KILL_LIMIT, Process};

/// The first descriptor that is not one of the three standard ones.
const FIRST_OWN_FD: libc::c_uint = 3;

/// Close when another program starts, not now.
const CLOEXEC: libc::c_int = libc::CLOSE_RANGE_CLOEXEC as libc::c_int;

/// A process that has not yet shown that it runs its machine. Dropped, it is killed, and may be there a moment more.
#[derive(Debug)]
pub(super) struct Fledgling(Option<Instance>);

impl Fledgling {
    pub(super) fn instance(&self) -> &Instance {
        self.0
            .as_ref()
            .expect("taken only by `proven`, which consumes it")
    }

    /// The machine runs; from now on its process is left alone.
    pub(super) fn proven(mut self) -> Instance {
        self.0.take().expect("taken only here, and this consumes it")
    }

    /// The machine does not run, because of `error`. Kills its process, and waits until it is gone: a launch
    /// that is tried again must not find it.
    pub(super) async fn given_up(self, error: HypervisorError) -> HypervisorError {
        let process = self.instance().process;
        drop(self);
        if tokio::time::timeout(KILL_LIMIT, process.ended()).await.is_err() {
            tracing::error!(
                pid = process.pid,
                "a hypervisor that was not launched is still there"
            );
        }
        error
    }
}

impl Drop for Fledgling {
    fn drop(&mut self) {
        let Some(Instance { vm, process, .. }) = self.0.take() else {
            return;
        };
        if let Err(error) = process.kill() {
            tracing::error!(%vm, pid = process.pid, %error, "a hypervisor that was not launched can't be killed");
        }
        // Reaps it. Ends by itself: the process was just killed.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { process.exited().await });
        }
    }
}

/// Checks the machine's files, makes its run directory ready, and starts `binary` in it. `args` is told the
/// number of the descriptor on which the control socket listens: a client can connect at once, before the
/// program has come so far as to accept.
pub(super) async fn spawn(
    machine: &Machine,
    kind: HypervisorKind,
    binary: PathBuf,
    args: impl FnOnce(RawFd) -> Vec<OsString> + Send + 'static,
) -> Result<Fledgling, HypervisorError> {
    let machine = machine.clone();
    let task = tokio::task::spawn_blocking(move || spawn_now(machine, kind, &binary, args));
    task.await
        .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

fn spawn_now(
    machine: Machine,
    kind: HypervisorKind,
    binary: &Path,
    args: impl FnOnce(RawFd) -> Vec<OsString>,
) -> Result<Fledgling, HypervisorError> {
    let Machine { vm, run_dir, .. } = &machine;
    let unusable = |path: &Path| {
        let path = path.to_owned();
        move |source| HypervisorError::RunDir {
            vm: *vm,
            path,
            source,
        }
    };
    machine.check_files()?;
    let dir = run_dir.path();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(unusable(dir))?;

    let held_path = run_dir.lock();
    let held = LockFile::create(&held_path).map_err(unusable(&held_path))?;
    if let Some(pid) = held.holder().map_err(unusable(&held_path))? {
        return Err(HypervisorError::AlreadyRunning {
            vm: *vm,
            pid,
            run_dir: dir.to_owned(),
        });
    }
    for socket in run_dir.left_behind() {
        remove_if_there(&socket).map_err(unusable(&socket))?;
    }
    let api_path = run_dir.api_socket();
    let api = UnixListener::bind(&api_path).map_err(unusable(&api_path))?;
    let log_path = run_dir.hypervisor_log();
    let log = File::create(&log_path).map_err(unusable(&log_path))?;

    let (held_fd, api_fd) = (held.fd(), api.as_raw_fd());
    let failed = |source| HypervisorError::Spawn {
        binary: binary.to_owned(),
        source,
    };
    let mut command = Command::new(binary);
    command
        .arg0(marker(*vm, kind))
        .args(args(api_fd))
        .current_dir(dir)
        // What the daemon's environment holds, secrets perhaps, is none of the hypervisor's business.
        .env_clear()
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(failed)?)
        .stderr(log);
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; `become_independent` makes only
    // system calls and allocates nothing. Both descriptors stay open in the parent, and so in the child,
    // until `spawn` has returned.
    unsafe { command.pre_exec(move || become_independent(held_fd, api_fd)) };
    let child = command.spawn().map_err(failed)?;

    // It is this daemon's child and not waited for yet, so its number can't have become another's.
    let process = match Process::of(child.id()) {
        Ok(Some(process)) => process,
        Ok(None) => return Err(failed(io::Error::other("it is not in /proc; is /proc mounted?"))),
        Err(error) => return Err(failed(error)),
    };
    let Machine { vm, run_dir, .. } = machine;
    Ok(Fledgling(Some(Instance {
        vm,
        kind,
        run_dir,
        process,
    })))
}

/// Runs in the child: cuts it loose from the daemon, and hands it the two descriptors that it keeps.
fn become_independent(held: RawFd, api: RawFd) -> io::Result<()> {
    rustix::process::setsid()?;
    // Also those that the daemon itself inherited open, which a program that waits for their end would miss.
    // SAFETY: takes no pointers; marks descriptors of this process only.
    if unsafe { libc::close_range(FIRST_OWN_FD, libc::c_uint::MAX, CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: open since before the fork, and not closed before exec.
    let (held, api) = unsafe { (BorrowedFd::borrow_raw(held), BorrowedFd::borrow_raw(api)) };
    fcntl_setfd(api, FdFlags::empty())?;
    lock::take(held)
}

pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
