//! A host's slice of the projection: what it should run, and nothing of anybody else's.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{HostId, VmId};
use crate::name::{ProjectName, VmName};
use crate::projection::Projection;
use crate::seq::{Epoch, Seq};
use crate::spec::VmSpec;
use crate::trace::TraceContext;
use crate::vm::{Power, Vm};

/// One VM, as its host should make it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesiredVm {
    /// The VM.
    pub vm: VmId,
    /// Its project.
    pub project: ProjectName,
    /// Its name.
    pub name: VmName,
    /// What it is.
    pub spec: Arc<VmSpec>,
    /// What it should do.
    pub power: Power,
    /// The host's right to it.
    pub epoch: Epoch,
    /// The event that last changed what it should be; reports say that they follow it.
    pub revision: Seq,
    /// The event that last changed what it is, after it was created; 0 when none has.
    pub changed: Seq,
    /// The trace of the command behind that.
    pub trace: Option<TraceContext>,
}

/// All that a host should run, at one point of its feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostSlice {
    /// The host.
    pub host: HostId,
    /// The last event that changed anything of it.
    pub feed: Seq,
    /// The VMs placed there, by id.
    pub vms: Vec<DesiredVm>,
}

impl DesiredVm {
    /// The last order or grant, as [`Vm::order`].
    pub fn order(&self) -> Seq {
        self.revision.max(self.epoch.0)
    }

    /// What `host` should make of `vm`; `None` when it is not placed there.
    pub fn of(vm: &Vm, host: HostId) -> Option<Self> {
        let placement = vm.placement.filter(|placement| placement.host == host)?;
        Some(Self {
            vm: vm.id,
            project: vm.project.clone(),
            name: vm.name.clone(),
            spec: vm.spec.clone(),
            power: vm.power,
            epoch: placement.epoch,
            revision: vm.revision(),
            changed: vm.changed(),
            trace: vm.ordered.trace.as_deref().copied(),
        })
    }
}

impl HostSlice {
    /// The slice of `host`; `None` when it is not registered.
    pub fn of(state: &Projection, host: HostId) -> Option<Self> {
        let entry = state.host(host)?;
        let vms = entry
            .vms
            .iter()
            .filter_map(|id| DesiredVm::of(state.vm(*id)?, host))
            .collect();
        Some(Self {
            host,
            feed: entry.feed,
            vms,
        })
    }
}
