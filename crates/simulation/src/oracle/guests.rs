//! Where VMs are placed, and where their guests run.

use chv_domain::spec::OnHostLoss;
use chv_domain::{Event, VmId};

use super::Oracle;

impl Oracle {
    /// Only what asks for failover is ever placed a second time.
    pub(super) fn placement(&mut self, event: &Event) {
        match event {
            Event::VmCreated { vm, spec, .. } => {
                self.asks.insert(*vm, spec.on_host_loss == OnHostLoss::Failover);
            }
            Event::VmPlaced { vm, .. } if !self.placed.insert(*vm) => {
                self.count.failovers += 1;
                if self.asks.get(vm) != Some(&true) {
                    self.wrong(format!(
                        "{vm} does not ask for failover, and was placed elsewhere"
                    ));
                }
            }
            _ => {}
        }
    }

    /// A guest starts: no other host may run it.
    pub(crate) fn guest_starts(&mut self, vm: VmId, host: usize) {
        self.count.starts += 1;
        if let Some(other) = self.guests.insert(vm, host) {
            self.wrong(format!(
                "{vm} starts on host {host} while it runs on host {other}"
            ));
        }
    }

    pub(crate) fn guest_ends(&mut self, vm: VmId, host: usize) {
        if self.guests.get(&vm) == Some(&host) {
            self.guests.remove(&vm);
        }
    }
}
