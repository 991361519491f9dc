//! Makes a machine's run directory ready and has its hypervisor started: behind the machine's wall, as nobody's child
//! here, with nothing of the daemon's open, holding its run directory's lock. Knows nothing of what the program is told
//! afterwards.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, Permissions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, lchown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use chv_domain::HypervisorKind;
use chv_domain::spec::NicBackend;

use super::error::HypervisorError;
use super::firecracker::serial;
use super::instance::{Instance, marker};
use super::lock::LockFile;
use super::machine::Machine;
use super::process::KILL_LIMIT;
use crate::wall::{self, Network, Order, Shown};

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
        let instance = self.instance().clone();
        drop(self);
        if tokio::time::timeout(KILL_LIMIT, instance.exited()).await.is_err() {
            tracing::error!(
                pid = instance.process.pid,
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
    can_limit(&machine)?;
    let (dir, own) = (run_dir.path(), run_dir.own());
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&own)
        .map_err(unusable(&own))?;

    let held_path = run_dir.lock();
    let held = LockFile::create(&held_path).map_err(unusable(&held_path))?;
    if let Some(pid) = held.holder().map_err(unusable(&held_path))? {
        return Err(HypervisorError::AlreadyRunning {
            vm: *vm,
            pid,
            run_dir: dir.to_owned(),
        });
    }
    for left in run_dir.left_behind() {
        remove_if_there(&left).map_err(unusable(&left))?;
    }
    if let Some(user) = machine.wall.user {
        give(&own, &run_dir.console_log(), user).map_err(unusable(&own))?;
    }
    let api_path = run_dir.api_socket();
    let api = UnixListener::bind(&api_path).map_err(unusable(&api_path))?;
    let log_path = run_dir.hypervisor_log();
    // One that was kept for whoever asks why the VM ended; there may be none.
    let _ = std::fs::rename(&log_path, run_dir.hypervisor_log_before());
    let log = File::create(&log_path).map_err(unusable(&log_path))?;

    let failed = |source| HypervisorError::Spawn {
        binary: binary.to_owned(),
        source,
    };
    let serial = match kind {
        HypervisorKind::Firecracker => Some(serial::ends(run_dir).map_err(unusable(&run_dir.console_log()))?),
        _ => None,
    };
    let mut order = order(
        &machine,
        kind,
        binary,
        args(api.as_raw_fd()),
        (held.fd(), api.as_raw_fd()),
    )
    .map_err(failed)?;
    order.serial = serial
        .as_ref()
        .map(|(input, output)| (input.as_raw_fd(), output.as_raw_fd()));
    let process = wall::start(*vm, order, log).map_err(failed)?;
    let Machine { vm, run_dir, .. } = machine;
    Ok(Fledgling(Some(Instance {
        vm,
        kind,
        run_dir,
        process,
    })))
}

/// What a launcher is told of `machine`: `held` is the lock's descriptor, `api` the one that the control socket listens on.
fn order(
    machine: &Machine,
    kind: HypervisorKind,
    binary: &Path,
    args: Vec<OsString>,
    (held, api): (RawFd, RawFd),
) -> io::Result<Order> {
    let Machine {
        vm, run_dir, wall, ..
    } = machine;
    let program = binary.canonicalize()?;
    let cell = match wall.user {
        Some(user) => {
            let files = machine.files().map(|(_, path, write)| Shown::data(path, write));
            let rng = Path::new(machine.spec.rng.path());
            Some(wall::cell(user, &program, files, kind, network(machine), &[rng])?)
        }
        None => None,
    };
    let limits = wall::limits(kind, &machine.spec);
    let cgroups = wall.cgroups.as_ref();
    Ok(Order {
        program,
        arg0: marker(*vm, kind),
        args,
        own: run_dir.own(),
        lock: held,
        open: vec![api],
        serial: None,
        end: run_dir.end(),
        cgroup: cgroups.map(|cgroups| cgroups.make(*vm, limits)).transpose()?,
        keepers: cgroups.map(|cgroups| cgroups.keepers()),
        cell,
    })
}

/// Whether this host can keep the machine to its part of the processors.
fn can_limit(machine: &Machine) -> Result<(), HypervisorError> {
    let cpu = &machine.spec.cpu;
    let asked = cpu.weight.is_some() || cpu.limit.is_some();
    let can = machine
        .wall
        .cgroups
        .as_ref()
        .is_some_and(|cgroups| cgroups.limit_cpu());
    match asked && !can {
        true => Err(HypervisorError::HostLacks {
            what: "cgroups (v2) with the controller cpu, which cpu.weight and cpu.limit need; chv host get says why"
                .to_owned(),
        }),
        false => Ok(()),
    }
}

/// QEMU's user network is the host's, and a TAP device is found by its name where the hypervisor is.
fn network(machine: &Machine) -> Network {
    let nics = &machine.spec.nics;
    let taps = nics.iter().filter_map(|nic| match &nic.backend {
        NicBackend::User | NicBackend::VhostUser(_) | NicBackend::VhostUserServer => None,
        NicBackend::Tap(name) => Some(name.as_str().to_owned()),
    });
    match nics.is_empty() {
        true => Network::Own,
        false => Network::Host(taps.collect()),
    }
}

/// Makes `own`, and what an earlier user left in `log`, the user's.
fn give(own: &Path, log: &Path, user: u32) -> io::Result<()> {
    lchown(own, Some(user), Some(user))?;
    std::fs::set_permissions(own, Permissions::from_mode(0o700))?;
    match lchown(log, Some(user), Some(user)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
