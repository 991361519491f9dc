//! Which processes run machines on this computer, looked at time and again: a VM that had two at one moment is remembered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use chv_domain::VmId;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The processes that run each VM now, and those that wait for an end of its.
pub(super) fn of_vms() -> BTreeMap<VmId, (Vec<u32>, Vec<u32>)> {
    let mut found: BTreeMap<VmId, (Vec<u32>, Vec<u32>)> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Ok(words) = std::fs::read(entry.path().join("cmdline")) else {
            continue;
        };
        let first = words.split(|&byte| byte == 0).next().unwrap_or_default();
        let Some(marked) = std::str::from_utf8(first)
            .ok()
            .and_then(|word| word.strip_prefix("chv-"))
        else {
            continue;
        };
        if let Some(vm) = marked.strip_prefix("keep-").and_then(|vm| vm.parse().ok()) {
            found.entry(vm).or_default().1.push(pid);
        } else if let Some(vm) = marked.split('-').next().and_then(|vm| vm.parse().ok()) {
            found.entry(vm).or_default().0.push(pid);
        }
    }
    found
}

/// Looks until it is dropped.
pub(super) struct Watch {
    twice: Arc<Mutex<BTreeSet<VmId>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub(super) fn start() -> Self {
        let (twice, stop) = (
            Arc::<Mutex<BTreeSet<VmId>>>::default(),
            Arc::<AtomicBool>::default(),
        );
        let (seen, ends) = (twice.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                let more_than_one = of_vms().into_iter().filter(|(_, (running, _))| running.len() > 1);
                seen.lock().unwrap().extend(more_than_one.map(|(vm, _)| vm));
                std::thread::sleep(LOOK_EVERY);
            }
        });
        Self {
            twice,
            stop,
            thread: Some(thread),
        }
    }

    /// Whether `vm` had two processes at once.
    pub(super) fn saw_twice(&self, vm: VmId) -> bool {
        self.twice.lock().unwrap().contains(&vm)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
