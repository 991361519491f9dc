//! The wall that each VM's hypervisor runs behind: a user, a cgroup, a root directory and namespaces of its own. A guest
//! that breaks out of its hypervisor finds nothing of the daemon's there, nor of another VM's (ADR 36).
//!
//! What can't be had on a host is left out, said once, and told with the host's facts. Nothing here knows what a
//! hypervisor is told, or decides when one is started.

mod cgroup;
mod end;
mod idmap;
pub mod launcher;
mod order;
mod programs;
mod start;
mod tap;
mod uids;
mod user;
mod view;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chv_domain::{HypervisorKind, VmId, VmSpec};

use crate::hypervisor::{Exit, last_lines};

pub(crate) use cgroup::{Cgroups, Limits};
pub(crate) use end::read as read_end;
pub(crate) use order::{Cell, Network, Order, Showing, Shown};
pub use start::LAUNCH;
pub(crate) use start::{show, start};
pub(crate) use tap::give as give_tap;
pub use uids::UidRange;
pub(crate) use uids::{NoneLeft, Uids};

/// How long a program that does nothing may take.
const TRIAL_LIMIT: Duration = Duration::from_secs(20);

/// What the operator says of walls.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The users that VMs' processes may be.
    pub uids: UidRange,
    /// The cgroup that VMs' cgroups are made in, instead of the daemon's own.
    pub cgroup: Option<PathBuf>,
}

/// What walls this host can give.
#[derive(Debug)]
pub struct Walls {
    uids: Option<Uids>,
    cgroups: Option<Arc<Cgroups>>,
    missing: Vec<String>,
}

/// What one VM's process is put behind. The default is nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wall {
    /// The user that it is; then its root directory and its namespaces are its own too.
    pub(crate) user: Option<u32>,
    /// Where its cgroup is made.
    pub(crate) cgroups: Option<Arc<Cgroups>>,
}

impl Walls {
    /// None at all.
    pub const fn none() -> Self {
        Self {
            uids: None,
            cgroups: None,
            missing: Vec::new(),
        }
    }

    /// Finds out what this host can give, by trying it in `dir`. `taken` are the users that VMs have; `name` is this host's
    /// among those of its machine. Blocks.
    pub(crate) fn find(options: &Options, taken: Vec<(VmId, u32)>, dir: &Path, name: &str) -> Self {
        if !rustix::process::geteuid().is_root() {
            let why =
                "no users, cgroups and namespaces of VMs' own: chv-hostd does not run as root".to_owned();
            return Self {
                missing: vec![why],
                ..Self::none()
            };
        }
        let (cgroups, missing) = Cgroups::find(options.cgroup.as_deref(), name);
        let mut walls = Self::users_only(Uids::new(options.uids, taken), dir);
        walls.cgroups = cgroups.map(Arc::new);
        walls.missing.extend(missing);
        walls
    }

    /// As [`Walls::find`], without cgroups.
    pub(crate) fn users_only(uids: Uids, dir: &Path) -> Self {
        match try_out(uids.for_probe(0), dir) {
            Ok(()) => Self {
                uids: Some(uids),
                ..Self::none()
            },
            Err(error) => Self {
                missing: vec![format!("no users and namespaces of VMs' own: {error}")],
                ..Self::none()
            },
        }
    }

    /// What a check of this host's hypervisors uses, in `dir`. Blocks.
    pub fn for_check(dir: &Path) -> Self {
        let name = format!("check-{}", std::process::id());
        Self::find(&Options::default(), Vec::new(), dir, &name)
    }

    /// What this host can't give, and why.
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// The wall of `vm`. Its user is its own until [`Walls::give_back`].
    pub(crate) fn of(&self, vm: VmId) -> Result<Wall, NoneLeft> {
        Ok(Wall {
            user: self.uids.as_ref().map(|uids| uids.take(vm)).transpose()?,
            cgroups: self.cgroups.clone(),
        })
    }

    /// The wall of a guest that checks a hypervisor.
    pub(crate) fn of_probe(&self, kind: HypervisorKind) -> Wall {
        Wall {
            user: self.uids.as_ref().map(|uids| uids.for_probe(kind as u32)),
            cgroups: self.cgroups.clone(),
        }
    }

    /// Removes the cgroup of `vm`, and what is in it. Blocks.
    pub(crate) fn clear(&self, vm: VmId) -> io::Result<()> {
        self.cgroups.as_ref().map_or(Ok(()), |cgroups| cgroups.remove(vm))
    }

    /// How often processes of `vm` were ended because they used more memory than they may, since it was launched.
    pub(crate) fn out_of_memory(&self, vm: VmId) -> u64 {
        self.cgroups
            .as_ref()
            .map_or(0, |cgroups| cgroups.out_of_memory(vm))
    }

    /// No file of `vm` is left: its user may be another's.
    pub(crate) fn give_back(&self, vm: VmId) {
        if let Some(uids) = &self.uids {
            uids.give_back(vm);
        }
    }
}

/// What a guest's process may use of the host, beside the guest's memory: for the hypervisor's own code and tables, and
/// where instructions are translated, for the translated ones.
pub(crate) fn limits(kind: HypervisorKind, spec: &VmSpec) -> Limits {
    const MIB: u64 = 1 << 20;
    let hotplug = spec
        .memory
        .hotplug
        .as_ref()
        .map_or(0, |hotplug| hotplug.size.bytes());
    let guest = spec.memory.size.bytes() + hotplug;
    let translated = match kind {
        HypervisorKind::QemuTcg => 1024 * MIB,
        _ => 0,
    };
    let vcpus = spec.cpu.max.unwrap_or(spec.cpu.vcpus);
    Limits {
        memory: guest + guest / 64 + 192 * MIB + translated,
        tasks: 256 + 4 * u64::from(vcpus.get()),
        cpu_weight: spec.cpu.weight.map_or(100, |weight| weight.get()),
        cpu_percent: spec.cpu.limit.map(|limit| limit.get()),
    }
}

/// The cell of a hypervisor's `program`: with `files`, and with the devices that it may use.
pub(crate) fn cell(
    user: u32,
    program: &Path,
    files: impl IntoIterator<Item = Shown>,
    kind: HypervisorKind,
    network: Network,
    more_devices: &[&Path],
) -> io::Result<Cell> {
    let mut shown = programs::needs(program)?;
    shown.extend(files);
    let mut devices: Vec<PathBuf> = ["null", "zero", "random", "urandom"].map(device).into();
    if kind != HypervisorKind::QemuTcg {
        devices.push(device("kvm"));
    }
    devices.extend(more_devices.iter().map(|path| path.to_path_buf()));
    devices.sort();
    devices.dedup();
    if let Network::Host(_) = network {
        devices.extend(["net/tun", "vhost-net"].map(device));
        shown.push(Shown::data("/etc/resolv.conf", false));
    }
    Ok(Cell {
        user,
        shown,
        devices,
        network,
    })
}

fn device(name: &str) -> PathBuf {
    Path::new("/dev").join(name)
}

/// Starts a program behind a wall that does nothing, in `dir`.
fn try_out(user: u32, dir: &Path) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => std::fs::create_dir(dir)?,
    }
    let own = dir.join("own");
    std::fs::create_dir(&own)?;
    std::os::unix::fs::chown(&own, Some(user), Some(user))?;
    let program = std::env::current_exe()?;
    let lock = std::fs::File::create(dir.join("lock"))?;
    let end = dir.join("end");
    let order = Order {
        cell: Some(cell(
            user,
            &program,
            [],
            HypervisorKind::QemuTcg,
            Network::Own,
            &[],
        )?),
        program,
        arg0: "chv-hostd".to_owned(),
        args: vec!["--help".into()],
        own,
        lock: lock.as_raw_fd(),
        open: Vec::new(),
        serial: None,
        end: end.clone(),
        cgroup: None,
        keepers: None,
    };
    let log = std::fs::File::create(dir.join("log"))?;
    let vm = VmId::from_bytes([0; 16]);
    let ended = start(vm, order, log).and_then(|process| {
        let until = Instant::now() + TRIAL_LIMIT;
        while Instant::now() < until {
            match read_end(&end) {
                Some((ended, Exit::Code(0))) if ended == process => return Ok(()),
                Some((ended, exit)) if ended == process => {
                    let words = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
                    return Err(io::Error::other(format!(
                        "a program behind a wall {exit}: {}",
                        last_lines(&words, 3)
                    )));
                }
                _ => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        Err(io::Error::other(format!(
            "a program behind a wall has not ended within {TRIAL_LIMIT:?}"
        )))
    });
    std::fs::remove_dir_all(dir)?;
    ended
}
