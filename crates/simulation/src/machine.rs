//! A host's machine: its clock, what runs on it besides the daemon, and what goes wrong with it.

use std::collections::BTreeMap;
use std::time::Duration;

use chv_domain::{Epoch, VmId};
use chv_hostd::lease::SinceBoot;

use crate::bug::Bug;
use crate::schedule::{MS, Micros};
use crate::world::{Event, World};

/// How often the guard looks, and how long an end takes at most.
const LOOK: Micros = 50 * MS;
const KILL: u64 = 150 * MS;

/// How far a machine's clock may be off the right pace, in millionths.
const DRIFT: u64 = 10_000;

/// A guest, which outlives the daemon that started it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Guest {
    pub(crate) pid: u32,
    pub(crate) epoch: Epoch,
    /// Whether it runs under the host's lease.
    pub(crate) leased: bool,
}

pub(crate) struct Machine {
    pub(crate) up: bool,
    boot: u64,
    /// Whether the broker is not reached.
    pub(crate) cut_off: bool,
    /// The daemon does nothing before then.
    pub(crate) daemon_from: Micros,
    pub(crate) guests: BTreeMap<VmId, Guest>,
    /// The end of the lease, as the daemon has noted it for the guard.
    pub(crate) noted: Option<SinceBoot>,
    /// How fast its clock goes, in millionths.
    pace: u64,
}

impl Machine {
    pub(crate) const fn new() -> Self {
        Self {
            up: true,
            boot: 0,
            cut_off: false,
            daemon_from: 0,
            guests: BTreeMap::new(),
            noted: None,
            pace: 1_000_000,
        }
    }
}

impl World {
    /// The machine boots, with nothing of before but its disk.
    pub(crate) fn boot(&mut self, host: usize) {
        let pace = 1_000_000 - DRIFT + self.chance.pick(0..2 * DRIFT);
        let machine = &mut self.hosts[host].machine;
        *machine = Machine {
            boot: machine.boot + 1,
            pace,
            ..Machine::new()
        };
        let boot = machine.boot;
        self.schedule.after(LOOK, Event::Guard { host, boot });
        self.host_starts(host);
    }

    /// Boots it if it is down, and not for good.
    pub(crate) fn boots_again(&mut self, host: usize) {
        if !self.hosts[host].machine.up && self.lost != Some(host) {
            self.note(|| format!("host {host} boots"));
            self.boot(host);
        }
    }

    /// The machine's clock.
    pub(crate) fn since_boot(&self, host: usize) -> SinceBoot {
        let machine = &self.hosts[host].machine;
        SinceBoot(Duration::from_micros(
            self.schedule.now / 1000 * machine.pace / 1000,
        ))
    }

    /// Whether messages pass between the host's daemon and the broker.
    pub(crate) fn is_reached(&self, host: usize) -> bool {
        let machine = &self.hosts[host].machine;
        machine.up && !machine.cut_off
    }

    /// The guard, a process of its own, looks whether the lease has ended.
    pub(crate) fn guard(&mut self, host: usize, boot: u64) {
        let now = self.since_boot(host);
        let machine = &self.hosts[host].machine;
        if !machine.up || machine.boot != boot || self.bug == Some(Bug::Guard) {
            return;
        }
        if machine.noted.is_none_or(|until| now >= until) {
            for (vm, guest) in self.leased(host) {
                let after = self.chance.pick(0..KILL);
                let pid = guest.pid;
                self.schedule.after(after, Event::Kill { host, boot, vm, pid });
            }
        }
        self.schedule.after(LOOK, Event::Guard { host, boot });
    }

    pub(crate) fn killed(&mut self, host: usize, boot: u64, vm: VmId, pid: u32) {
        let machine = &self.hosts[host].machine;
        if machine.boot == boot && machine.guests.get(&vm).is_some_and(|guest| guest.pid == pid) {
            self.guest_ends(host, vm);
        }
    }

    /// The guests that run under the lease.
    pub(crate) fn leased(&self, host: usize) -> Vec<(VmId, Guest)> {
        let guests = self.hosts[host].machine.guests.iter();
        guests
            .filter(|(_, guest)| guest.leased)
            .map(|(vm, guest)| (*vm, *guest))
            .collect()
    }

    /// A fault of a host.
    pub(crate) fn host_fault(&mut self, host: usize) {
        let for_long = match self.chance.is(500) {
            true => self.chance.pick(200 * MS..4000 * MS),
            false => self.chance.pick(4000 * MS..8000 * MS),
        };
        match self.chance.pick(0..4) {
            0 => {
                self.note(|| format!("host {host} loses its power"));
                self.lose_power(host);
                self.schedule.after(for_long, Event::Boot(host));
            }
            1 => {
                self.note(|| format!("host {host} is cut off"));
                self.hosts[host].machine.cut_off = true;
                self.schedule.after(for_long, Event::Reach(host));
            }
            2 => {
                self.note(|| format!("host {host}'s daemon stands still"));
                self.hosts[host].machine.daemon_from = self.schedule.now + for_long;
            }
            _ => {
                self.note(|| format!("host {host}'s daemon is killed"));
                self.host_starts(host);
                self.hosts[host].machine.daemon_from = self.schedule.now + for_long / 2;
            }
        }
    }

    /// The machine ends with all that runs on it.
    pub(crate) fn lose_power(&mut self, host: usize) {
        let guests: Vec<VmId> = self.hosts[host].machine.guests.keys().copied().collect();
        guests.into_iter().for_each(|vm| self.guest_ends(host, vm));
        self.hosts[host].machine.up = false;
        self.hosts[host].ends();
    }
}
