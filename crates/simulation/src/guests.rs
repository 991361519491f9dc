//! What a host's daemon does with guests: makes each what it should be, under the host's lease where the VM asks for
//! failover. The rules of the lease are the daemon's own.

use chv_domain::spec::OnHostLoss;
use chv_domain::{Command, ExitReason, HypervisorKind, LeaseDuration, Observation, Power, Run, Seq, VmId};
use chv_hostd::lease::{Grant, HeldLease, Renewal};

use crate::bug::Bug;
use crate::host::HostEvent;
use crate::machine::Guest;
use crate::packet::Beat;
use crate::schedule::MS;
use crate::world::World;

impl World {
    /// A daemon begins: before anything else it ends what ran under a lease that has ended.
    pub(crate) fn takes_stock(&mut self, host: usize) {
        let noted = self.hosts[host].machine.noted;
        self.hosts[host].lease = HeldLease::kept(noted);
        if !self.hosts[host].lease.is_held(self.since_boot(host)) {
            self.end_leased(host);
        }
    }

    /// A leader answered with a lease.
    pub(crate) fn granted(&mut self, host: usize, beat: Beat, lease: LeaseDuration, feed: Seq) {
        let now = self.since_boot(host);
        let sent = beat.sent;
        let grant = Grant { sent, lease, feed };
        match self.hosts[host].lease.renewal(&grant, now) {
            Renewal::Late => return,
            Renewal::GoesOn => {}
            Renewal::Lapsed => self.end_leased(host),
        }
        let there = &mut self.hosts[host];
        there.lease.renew(&grant, now);
        there.machine.noted = there.lease.until();
        let idle: Vec<VmId> = there
            .wanted
            .keys()
            .filter(|vm| !there.machine.guests.contains_key(vm))
            .copied()
            .collect();
        for vm in idle {
            let after = self.chance.pick(MS..50 * MS);
            self.host_after(host, after, HostEvent::Converge(vm));
        }
    }

    fn end_leased(&mut self, host: usize) {
        for (vm, _) in self.leased(host) {
            self.guest_ends(host, vm);
        }
    }

    pub(crate) fn guest_ends(&mut self, host: usize, vm: VmId) {
        if self.hosts[host].machine.guests.remove(&vm).is_some() {
            self.note(|| format!("{vm} ends on host {host}"));
            self.oracle.guest_ends(vm, host);
        }
    }

    /// Makes one VM what it should be, and reports it.
    pub(crate) fn converge(&mut self, host: usize, vm: VmId) {
        let pid = u32::try_from(self.chance.pick(1..u64::from(u32::MAX))).expect("it is small");
        let now = self.since_boot(host);
        let there = &self.hosts[host];
        let running = there.machine.guests.get(&vm).copied();
        let Some(wanted) = there.wanted.get(&vm).cloned() else {
            return self.guest_ends(host, vm);
        };
        if running.is_some_and(|guest| guest.epoch < wanted.epoch) {
            // It was elsewhere in between: what runs here is of the past.
            self.guest_ends(host, vm);
            return self.host_after(host, MS, HostEvent::Converge(vm));
        }
        let leased = wanted.spec.on_host_loss == OnHostLoss::Failover;
        let position = match self.bug {
            Some(Bug::Behind) => Seq(u64::MAX),
            _ => there.position(),
        };
        let hypervisor = HypervisorKind::QemuTcg;
        let observation = match (&wanted.power, running) {
            (Power::Running, None) if leased && !there.lease.may_start(now, position) => return,
            (Power::Running, None) => {
                let epoch = wanted.epoch;
                let guest = Guest { pid, epoch, leased };
                self.hosts[host].machine.guests.insert(vm, guest);
                self.note(|| format!("{vm} starts on host {host}"));
                self.oracle.guest_starts(vm, host);
                let took_us = 1;
                Observation::Started {
                    hypervisor,
                    pid,
                    took_us,
                }
            }
            (Power::Running, Some(Guest { pid, .. })) => Observation::Adopted {
                paused: false,
                hypervisor,
                pid,
                uptime_ms: 1,
            },
            (Power::Deleted, _) => {
                self.guest_ends(host, vm);
                Observation::Removed
            }
            (_, Some(_)) => {
                self.guest_ends(host, vm);
                Observation::Exited(ExitReason::PoweredOff, String::new(), Run::default())
            }
            (_, None) => return,
        };
        let epoch = wanted.epoch;
        self.report(
            host,
            Command::ReportVm {
                vm,
                epoch,
                observation,
            },
        );
    }
}
