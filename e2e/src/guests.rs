//! The hypervisor processes of a rig, as /proc shows them: what really runs, whoever believes what.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use chv_domain::VmId;

use crate::watchdog::MARK;

/// Between two looks of a [`Watch`].
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// One hypervisor process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// The VM that it runs.
    pub vm: VmId,
    /// Its process.
    pub pid: u32,
    /// Where it works: its run directory on its host.
    pub directory: PathBuf,
    /// Its command line.
    pub command_line: Vec<String>,
}

/// Every hypervisor that works below `directory`. Hypervisors call themselves `chv-<VM id>-<kind>`.
pub fn below(directory: &Path) -> Vec<Guest> {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .flatten()
        .filter_map(|process| guest(&process.path(), directory))
        .collect()
}

fn guest(process: &Path, directory: &Path) -> Option<Guest> {
    let pid = process.file_name()?.to_str()?.parse().ok()?;
    let works_in = std::fs::read_link(process.join("cwd")).ok()?;
    if !works_in.starts_with(directory) {
        return None;
    }
    // Behind a wall a hypervisor has a directory of its own in there.
    let run_dir = match works_in.ends_with("own") {
        true => works_in.parent()?.to_owned(),
        false => works_in,
    };
    let words = std::fs::read(process.join("cmdline")).ok()?;
    let command_line: Vec<String> = words
        .strip_suffix(b"\0")?
        .split(|byte| *byte == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    let (vm, _kind) = command_line.first()?.strip_prefix("chv-")?.split_once('-')?;
    Some(Guest {
        vm: vm.parse().ok()?,
        pid,
        directory: run_dir,
        command_line,
    })
}

/// The processes that belong to the cluster in `directory`, its guests included.
pub fn belongings(directory: &Path) -> Vec<u32> {
    let id = directory.file_name().unwrap_or_default().as_encoded_bytes();
    let mark = [MARK.as_bytes(), b"=", id].concat();
    let belongs = |process: &Path| {
        let environment = std::fs::read(process.join("environ")).unwrap_or_default();
        let marked = environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == mark);
        marked || std::fs::read_link(process.join("cwd")).is_ok_and(|place| place.starts_with(directory))
    };
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter(|process| belongs(&process.path()))
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .collect()
}

/// The cgroups that the hosts of the cluster in `directory` have made for their VMs.
pub fn cgroups(directory: &Path) -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "));
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
    let (Some(mount), Some(own)) = (mount.and_then(|line| line.split(' ').nth(4)), own) else {
        return Vec::new();
    };
    let base = Path::new(mount).join(own);
    let members = std::fs::read_dir(directory).into_iter().flatten().flatten();
    members
        .filter_map(|member| std::fs::read_to_string(member.path().join("identity")).ok())
        .filter_map(|identity| Some(base.join(format!("chv-{}", identity.split_ascii_whitespace().nth(1)?))))
        .filter(|cgroup| cgroup.exists())
        .collect()
}

impl Guest {
    /// How long its process has run. `None` when it has ended.
    pub fn uptime(&self) -> Option<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        // The name in parentheses may hold anything; the 22nd field is the 20th after it.
        let started: u64 = stat
            .rsplit_once(')')?
            .1
            .split_whitespace()
            .nth(19)?
            .parse()
            .ok()?;
        let now = std::fs::read_to_string("/proc/uptime").ok()?;
        let now: f64 = now.split_whitespace().next()?.parse().ok()?;
        // SAFETY: takes no pointers.
        let ticks = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).ok()?;
        let started = Duration::from_millis(started * 1_000 / ticks.max(1));
        Some(Duration::try_from_secs_f64(now).ok()?.saturating_sub(started))
    }

    /// Kills it behind its daemon's back.
    ///
    /// # Errors
    /// When it is gone already.
    pub fn kill(&self) -> std::io::Result<()> {
        // SAFETY: takes no pointers.
        match unsafe { libc::kill(self.pid.cast_signed(), libc::SIGKILL) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    }
}

/// Looks all the time whether a VM has two hypervisors.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Seen>>,
}

/// What a [`Watch`] saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// How often it looked.
    pub looks: u64,
    /// The most VMs that ran at once.
    pub most: usize,
    /// Every look at which a VM had more than one hypervisor.
    pub doubles: Vec<(VmId, Vec<u32>)>,
}

impl Watch {
    pub(crate) fn start(directory: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            while !told.load(Ordering::Relaxed) {
                seen.look(&directory);
                std::thread::sleep(LOOK_AGAIN);
            }
            seen
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }

    /// Ends the watch and tells what it saw.
    pub fn end(mut self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .take()
            .map_or_else(Seen::default, |thread| thread.join().unwrap_or_default())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Seen {
    fn look(&mut self, directory: &Path) {
        let mut processes: BTreeMap<VmId, Vec<u32>> = BTreeMap::new();
        for guest in below(directory) {
            processes.entry(guest.vm).or_default().push(guest.pid);
        }
        self.looks += 1;
        self.most = self.most.max(processes.len());
        self.doubles
            .extend(processes.into_iter().filter(|(_, pids)| pids.len() > 1));
    }
}
