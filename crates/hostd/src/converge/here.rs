//! What every VM's task uses of this host.

use std::collections::BTreeMap;
use std::sync::Arc;

use chv_domain::{HostFacts, HypervisorKind};
use tokio::sync::watch;

use super::slots::Slots;
use crate::clock::Clock;
use crate::data_dir::DataDir;
use crate::files::Files;
use crate::hypervisor::Hypervisor;
use crate::lease::Lease;
use crate::ledger::Ledger;
use crate::wall::Walls;

/// The drivers of the hypervisors that are installed here, whether or not they can run guests.
#[derive(Debug, Clone, Default)]
pub struct Hypervisors(BTreeMap<HypervisorKind, Arc<dyn Hypervisor>>);

impl Hypervisors {
    /// The driver for `kind`.
    pub fn get(&self, kind: HypervisorKind) -> Option<&Arc<dyn Hypervisor>> {
        self.0.get(&kind)
    }
}

impl FromIterator<Arc<dyn Hypervisor>> for Hypervisors {
    fn from_iter<I: IntoIterator<Item = Arc<dyn Hypervisor>>>(drivers: I) -> Self {
        Self(
            drivers
                .into_iter()
                .map(|driver| (driver.kind(), driver))
                .collect(),
        )
    }
}

/// What every VM's task uses of this host.
#[derive(Debug)]
pub struct Here {
    /// Its directory.
    pub data: DataDir,
    /// Its notes.
    pub ledger: Ledger,
    /// Its files.
    pub files: Files,
    /// Its clock.
    pub clock: Clock,
    /// Its lease.
    pub lease: Arc<Lease>,
    /// What VMs' processes are put behind.
    pub walls: Walls,
    /// Its hypervisors' drivers.
    pub hypervisors: Hypervisors,
    /// What it offers; hypervisors are listed once the check has seen them run a guest.
    pub facts: watch::Receiver<HostFacts>,
    /// One for each guest that may be started at once.
    pub slots: Slots,
}
