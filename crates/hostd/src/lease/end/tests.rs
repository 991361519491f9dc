//! Ending guests, with processes that hold their directories as hypervisors do.

use std::process::Child;

use super::*;
use crate::converge::tests::rig::holder;

/// A host with guests; they end with it.
struct Host {
    dir: tempfile::TempDir,
    processes: Vec<Child>,
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let processes = Vec::new();
        Self { dir, processes }
    }

    fn guests(&self) -> LeasedGuests {
        LeasedGuests::new(self.dir.path().to_owned())
    }

    /// A process that holds a VM's directory; it runs its machine, or something else.
    fn holds(&mut self, number: u8, on_host_loss: OnHostLoss, machine: bool) {
        let vm = VmId::from_bytes([number; 16]);
        let dir = RunDir::new(self.dir.path().join(vm.to_string())).unwrap();
        std::fs::create_dir(dir.path()).unwrap();
        asks::write(&dir, on_host_loss).unwrap();
        let name = match machine {
            true => format!("chv-{vm}-qemu-tcg"),
            false => "stranger".to_owned(),
        };
        self.processes.push(holder(dir.path(), &name));
    }

    fn file(&self, number: u8, name: &str) -> PathBuf {
        let vm = VmId::from_bytes([number; 16]);
        self.dir.path().join(vm.to_string()).join(name)
    }

    /// Which of them run, by their place; waits until `count` have ended.
    fn running(&mut self, ended: usize) -> Vec<usize> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let mut running = Vec::new();
            for (place, process) in self.processes.iter_mut().enumerate() {
                if process.try_wait().unwrap().is_none() {
                    running.push(place);
                }
            }
            if running.len() + ended <= self.processes.len() {
                return running;
            }
            assert!(Instant::now() < deadline, "{running:?} run");
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Waits until the processes have become their programs.
fn settled(host: &Host) {
    let settled = |dir: &RunDir| match Instance::holds(dir).unwrap() {
        Held::Free => false,
        Held::Machine(..) => true,
        Held::Other(other) => !other.is_changing(),
    };
    while !host.guests().leased().0.iter().all(settled) {
        std::thread::sleep(LOOK);
    }
}

#[test]
fn given_guests_when_the_lease_is_over_then_those_that_ask_for_failover_end_and_no_other() {
    let mut host = Host::new();
    for (number, asks) in [(1, OnHostLoss::Failover), (2, OnHostLoss::Stay)] {
        host.holds(number, asks, true);
    }
    let guests = host.guests();
    assert!(guests.any_runs() && guests.end(Duration::from_secs(20)));
    assert_eq!(host.running(1), [1]);
    assert!(!guests.any_runs());
}

#[test]
fn given_guests_that_can_t_be_ended_then_every_other_one_is() {
    let mut host = Host::new();
    for number in 1..=6 {
        host.holds(number, OnHostLoss::Failover, true);
    }
    // When the first that are looked at can't be ended, whichever they are,
    let guests = host.guests();
    let (refused, looks) = (Mutex::new(Vec::new()), 20);
    let refuse = |process: &Process| {
        let mut refused = refused.lock().unwrap();
        if refused.len() < 2 && !refused.contains(process) {
            refused.push(*process);
        }
        match refused.contains(process) {
            true => Err(io::ErrorKind::PermissionDenied.into()),
            false => end(process),
        }
    };
    for _ in 0..looks {
        assert!(guests.kill_with(|| true, refuse) >= 2);
    }
    // then the others end, and each of these was told of once.
    assert_eq!(host.running(4).len(), 2);
    assert_eq!(guests.told().len(), 2);
    // And when they can be, then they are, and are forgotten.
    assert!(guests.end(Duration::from_secs(20)));
    assert_eq!(host.running(6), [0; 0]);
    assert!(guests.told().is_empty());
}

#[test]
fn given_a_lease_that_was_granted_again_after_the_guests_were_found_then_they_run_on() {
    let mut host = Host::new();
    host.holds(1, OnHostLoss::Failover, true);
    host.holds(2, OnHostLoss::Failover, true);
    settled(&host);
    let (guests, looks) = (host.guests(), std::cell::Cell::new(0));
    // When it is over at the look before the first guest and not any more before the second,
    let over = || looks.replace(looks.get() + 1) == 0;
    assert_eq!(guests.kill(over), 2);
    // then that one runs on.
    assert_eq!(host.running(1).len(), 1);
}

#[test]
fn given_directories_that_other_programs_hold_then_they_hold_up_no_guest_s_end() {
    let mut host = Host::new();
    for number in 1..=8 {
        host.holds(number, OnHostLoss::Failover, false);
    }
    host.holds(9, OnHostLoss::Failover, true);
    settled(&host);
    let begun = Instant::now();
    assert_eq!(host.guests().kill(|| true), 9);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(host.running(1), [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn given_what_another_version_wrote_of_a_launch_then_guests_end_or_run_on_as_they_asked() {
    let mut host = Host::new();
    for (number, asks) in [(1, OnHostLoss::Failover), (2, OnHostLoss::Stay)] {
        host.holds(number, asks, true);
        std::fs::write(host.file(number, "launched.json"), r#"{"version":99}"#).unwrap();
    }
    assert!(host.guests().end(Duration::from_secs(20)));
    assert_eq!(host.running(1), [1]);
}

#[test]
fn given_a_guest_that_says_not_what_it_asked_for_then_it_ends_with_the_lease_and_that_is_told() {
    for damage in [None, Some("perhaps")] {
        let mut host = Host::new();
        host.holds(1, OnHostLoss::Stay, true);
        let note = host.file(1, "on-host-loss");
        match damage {
            None => std::fs::remove_file(note).unwrap(),
            Some(text) => std::fs::write(note, text).unwrap(),
        }
        settled(&host);
        let guests = host.guests();
        assert_eq!(guests.kill(|| true), 1);
        assert_eq!(guests.told().len(), 1);
        assert_eq!(host.running(1), [0; 0]);
    }
}

#[test]
fn given_what_is_no_vm_s_then_it_is_let_be() {
    let host = Host::new();
    std::fs::write(host.dir.path().join("README"), "hello").unwrap();
    std::fs::create_dir(host.dir.path().join("lost+found")).unwrap();
    assert_eq!(host.guests().kill(|| true), 0);
}
