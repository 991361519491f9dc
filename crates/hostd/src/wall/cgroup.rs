//! Cgroups (v2): one for each VM's process, with what it may use of the host, and one for those who wait for the ends
//! of VMs. Below the cgroup that this daemon was given. Where the kernel or whoever started the daemon gives less, what
//! is missing is said, and the rest is used.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chv_domain::VmId;

/// What a VM's cgroup is limited by.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

/// The beginning of the name of the cgroup of this daemon's cgroups, and in it the one of those who wait for the ends of
/// VMs. Its host's id follows: a VM that has moved between two hosts on one machine must not be ended by the one that it left.
const OURS: &str = "chv-";
const KEEPERS: &str = "keepers";

/// What the daemon itself is in, beside its VMs': a cgroup that gives controllers to others has no processes.
const DAEMON: &str = "daemon";

/// How long the processes in a VM's cgroup may take to be gone once they were killed.
const EMPTY_LIMIT: Duration = Duration::from_secs(5);

/// What a VM's process may use of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// In bytes: the guest's memory and what its hypervisor needs itself.
    pub(crate) memory: u64,
    /// Processes and threads.
    pub(crate) tasks: u64,
    /// The share of the processors where they are scarce: 1 to 10,000.
    pub(crate) cpu_weight: u64,
    /// The most of the processors, in hundredths of one; `None` is all.
    pub(crate) cpu_percent: Option<u64>,
}

/// The cgroups of this daemon's VMs. Dropped, what is empty of them is removed: all, where no VM runs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cgroups {
    ours: PathBuf,
    controllers: Vec<String>,
}

impl Cgroups {
    /// Makes ready the cgroup `asked`, or the one that this process is in; and says what can't be had there.
    pub(super) fn find(asked: Option<&Path>, name: &str) -> (Option<Self>, Vec<String>) {
        match Self::make_ready(asked, name) {
            Ok(found) => {
                let missing = CONTROLLERS
                    .iter()
                    .filter(|name| !found.controllers.iter().any(|has| has == *name));
                let missing = missing
                    .map(|name| {
                        format!(
                            "no limit on {name}: the cgroup {} has no such controller",
                            found.ours.display()
                        )
                    })
                    .collect();
                (Some(found), missing)
            }
            Err(error) => (None, vec![format!("no cgroups: {error}")]),
        }
    }

    fn make_ready(asked: Option<&Path>, name: &str) -> io::Result<Self> {
        let base = match asked {
            Some(asked) => asked.to_owned(),
            None => own()?,
        };
        let ours = base.join(format!("{OURS}{name}"));
        fs::create_dir_all(ours.join(KEEPERS)).map_err(|error| at(&ours, error))?;
        // Beneath the root anything goes; elsewhere, whoever gives controllers has no processes.
        if asked.is_none() && base.join("cgroup.type").exists() {
            let daemon = base.join(DAEMON);
            make(&daemon)?;
            enter(&daemon)?;
        }
        let mut controllers = Vec::new();
        for name in CONTROLLERS {
            let given = [&base, &ours].into_iter().try_for_each(|dir| give(dir, name));
            match given {
                Ok(()) => controllers.push(name.to_owned()),
                Err(error) => tracing::debug!(controller = name, %error, "not given"),
            }
        }
        Ok(Self { ours, controllers })
    }

    /// The cgroup of those who wait for the ends of VMs.
    pub(crate) fn keepers(&self) -> PathBuf {
        self.ours.join(KEEPERS)
    }

    /// The cgroup of `vm`.
    pub(crate) fn of(&self, vm: VmId) -> PathBuf {
        self.ours.join(vm.to_string())
    }

    /// Makes the cgroup of `vm` with these limits. Blocks, as all of this does.
    pub(crate) fn make(&self, vm: VmId, limits: Limits) -> io::Result<PathBuf> {
        let dir = self.of(vm);
        make(&dir)?;
        let cpu_max = limits.cpu_percent.map_or("max 100000".to_owned(), |percent| {
            format!("{}000 100000", percent)
        });
        for (controller, file, value) in [
            ("memory", "memory.max", limits.memory.to_string()),
            ("memory", "memory.oom.group", "1".to_owned()),
            ("pids", "pids.max", limits.tasks.to_string()),
            ("cpu", "cpu.weight", limits.cpu_weight.to_string()),
            ("cpu", "cpu.max", cpu_max),
        ] {
            if self.controllers.iter().any(|has| has == controller) {
                let path = dir.join(file);
                fs::write(&path, value).map_err(|error| at(&path, error))?;
            }
        }
        Ok(dir)
    }

    /// Whether a VM's use of the processors can be weighed and limited.
    pub(crate) fn limit_cpu(&self) -> bool {
        self.controllers.iter().any(|has| has == "cpu")
    }

    /// How often the kernel has ended processes of `vm` because they used more memory than they may.
    pub(crate) fn out_of_memory(&self, vm: VmId) -> u64 {
        let events = fs::read_to_string(self.of(vm).join("memory.events")).unwrap_or_default();
        oom_kills(&events)
    }

    /// Removes the cgroup of `vm`, and ends what is in it.
    pub(crate) fn remove(&self, vm: VmId) -> io::Result<()> {
        remove(&self.of(vm))
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        let within = fs::read_dir(&self.ours).into_iter().flatten().flatten();
        let within = within.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        for dir in within.map(|entry| entry.path()).chain([self.ours.clone()]) {
            // It stays where a VM runs on in it, or somebody waits for its end.
            if let Err(error) = fs::remove_dir(&dir) {
                tracing::debug!(dir = %dir.display(), %error, "the cgroup stays");
            }
        }
    }
}

fn remove(dir: &Path) -> io::Result<()> {
    let until = Instant::now() + EMPTY_LIMIT;
    loop {
        match fs::remove_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            // A process that has ended is in it until its parent has taken note.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < until => {
                let _ = fs::write(dir.join("cgroup.kill"), "1");
                std::thread::sleep(Duration::from_millis(1));
            }
            done => return done.map_err(|error| at(dir, error)),
        }
    }
}

/// Puts this process into the cgroup `dir`.
pub(super) fn enter(dir: &Path) -> io::Result<()> {
    let path = dir.join("cgroup.procs");
    fs::write(&path, "0").map_err(|error| at(&path, error))
}

fn make(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(at(dir, error)),
        _ => Ok(()),
    }
}

/// Lets the cgroups in `dir` use a controller.
fn give(dir: &Path, controller: &str) -> io::Result<()> {
    let has = |file: &str| -> io::Result<bool> {
        let names = fs::read_to_string(dir.join(file))?;
        Ok(names.split_ascii_whitespace().any(|name| name == controller))
    };
    if has("cgroup.subtree_control")? {
        return Ok(());
    }
    let path = dir.join("cgroup.subtree_control");
    fs::write(&path, format!("+{controller}")).map_err(|error| at(&path, error))
}

/// The cgroup that this process was given: the one that it is in, or when it has gone into one of its own, the one around.
fn own() -> io::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let root = mount_point(&mounts).ok_or_else(|| io::Error::other("cgroup2 is mounted nowhere"))?;
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
    let own = own.ok_or_else(|| io::Error::other("this process is in no cgroup of version 2"))?;
    let path = Path::new(own);
    let given = match path.file_name() {
        Some(name) if name == DAEMON => path.parent().unwrap_or(path),
        _ => path,
    };
    Ok(root.join(given))
}

/// Where cgroups of version 2 are mounted.
fn mount_point(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let place = before.split(' ').nth(4)?;
        (after.split(' ').next()? == "cgroup2").then(|| place.into())
    })
}

fn oom_kills(events: &str) -> u64 {
    let count = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_mounts_then_cgroup2_is_found_wherever_it_is() {
        let hybrid = "30 25 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      31 25 0:27 / /sys/fs/cgroup/unified rw,relatime shared:4 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(hybrid), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(mount_point("30 25 0:26 / / rw - ext4 /dev/vda rw\n"), None);
    }

    #[test]
    fn given_cgroups_that_are_dropped_then_they_are_removed_unless_a_vm_has_one() {
        let dir = tempfile::tempdir().unwrap();
        let cgroups = || Cgroups::make_ready(Some(dir.path()), "h1").unwrap();
        let vm = VmId::from_bytes([1; 16]);
        let left = cgroups();
        // As where something is in it.
        fs::create_dir_all(left.of(vm).join("busy")).unwrap();
        drop(left);
        assert!(dir.path().join("chv-h1").exists());

        let left = cgroups();
        fs::remove_dir(left.of(vm).join("busy")).unwrap();
        drop(left);
        assert!(!dir.path().join("chv-h1").exists());
    }

    #[test]
    fn given_a_cgroups_events_then_its_oom_kills_are_counted() {
        let events = "low 0\nhigh 0\nmax 31\noom 2\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(oom_kills(events), 2);
        assert_eq!(oom_kills("low 0\n"), 0);
    }
}
