//! Hosts: what they are, and what they are told to run.

use std::time::Duration;

use chv_domain::{
    Capacity, DesiredVm, Epoch, Host, HostFacts, HostId, HostSlice, HypervisorFacts, Seq, VmId,
};

use super::VERSION;
use super::error::{WireError, parse, parse_optional};
use super::spec::{spec_from_wire, spec_to_wire};
use super::vm::{power_from_wire, power_to_wire};
use crate::v1;

const fn capacity_to_wire(capacity: Capacity) -> v1::Capacity {
    v1::Capacity {
        vcpus: capacity.vcpus,
        memory_mib: capacity.memory_mib,
    }
}

/// What a host found out about itself, as it is sent.
pub fn facts_to_wire(facts: &HostFacts) -> v1::HostFacts {
    let hypervisor = |facts: &HypervisorFacts| v1::Hypervisor {
        kind: facts.kind.to_string(),
        version: facts.version.clone(),
    };
    v1::HostFacts {
        capacity: Some(capacity_to_wire(facts.capacity)),
        hypervisors: facts.hypervisors.iter().map(hypervisor).collect(),
        daemon: facts.daemon.clone(),
        missing: facts.missing.clone(),
    }
}

/// What a host said of itself. Fields are named from the message's own root.
pub fn facts_from_wire(facts: v1::HostFacts) -> Result<HostFacts, WireError> {
    let capacity = facts.capacity.ok_or_else(|| WireError::missing("capacity"))?;
    let hypervisor = |(index, facts): (usize, v1::Hypervisor)| {
        Ok(HypervisorFacts {
            kind: parse("kind", &facts.kind)
                .map_err(|error: WireError| error.within(format!("hypervisors[{index}]")))?,
            version: facts.version,
        })
    };
    Ok(HostFacts {
        capacity: Capacity {
            vcpus: capacity.vcpus,
            memory_mib: capacity.memory_mib,
        },
        hypervisors: facts
            .hypervisors
            .into_iter()
            .enumerate()
            .map(hypervisor)
            .collect::<Result<_, _>>()?,
        daemon: facts.daemon,
        missing: facts.missing,
    })
}

/// A host as the log knows it, for people and programs to read. `alive` and `last_heard` are what the
/// answering replica hears of it.
pub fn host_to_wire(host: &Host, alive: bool, last_heard: Option<Duration>) -> v1::Host {
    v1::Host {
        id: host.id.to_string(),
        name: host.name.to_string(),
        facts: Some(facts_to_wire(&host.facts)),
        cordoned: host.cordoned,
        reserved: Some(capacity_to_wire(host.reserved)),
        vms: u32::try_from(host.vms.len()).unwrap_or(u32::MAX),
        registered_us: host.registered.0,
        revision: host.revision.0,
        alive,
        // Heard of within this millisecond is not "never".
        last_heard_ms: last_heard.map_or(0, |ago| u64::try_from(ago.as_millis()).unwrap_or(u64::MAX).max(1)),
    }
}

/// What a host should make of one VM, as it is sent.
pub fn desired_to_wire(vm: &DesiredVm) -> v1::DesiredVm {
    v1::DesiredVm {
        vm: vm.vm.to_string(),
        project: vm.project.to_string(),
        name: vm.name.to_string(),
        spec: Some(spec_to_wire(&vm.spec)),
        power: Some(power_to_wire(vm.power)),
        epoch: vm.epoch.0.0,
        revision: vm.revision.0,
        changed: vm.changed.0,
        traceparent: vm.trace.map(|trace| trace.to_string()).unwrap_or_default(),
    }
}

/// What a host should make of one VM, as it was sent. Fields are named from the message's own root.
pub fn desired_from_wire(vm: v1::DesiredVm) -> Result<DesiredVm, WireError> {
    let spec = vm.spec.ok_or_else(|| WireError::missing("spec"))?;
    let power = vm.power.ok_or_else(|| WireError::missing("power"))?;
    Ok(DesiredVm {
        vm: parse("vm", &vm.vm)?,
        project: parse("project", &vm.project)?,
        name: parse("name", &vm.name)?,
        spec: spec_from_wire(spec).map_err(|error| error.within("spec"))?.into(),
        power: power_from_wire(power).map_err(|error| error.within("power"))?,
        epoch: Epoch(Seq(vm.epoch)),
        revision: Seq(vm.revision),
        changed: Seq(vm.changed),
        trace: parse_optional("traceparent", &vm.traceparent)?,
    })
}

fn desired_list(vms: Vec<v1::DesiredVm>) -> Result<Vec<DesiredVm>, WireError> {
    let each =
        |(index, vm)| desired_from_wire(vm).map_err(|error: WireError| error.within(format!("vms[{index}]")));
    vms.into_iter().enumerate().map(each).collect()
}

/// Refuses what replicas and hosts tell each other in a version that is not known here.
pub fn check_version(version: u32) -> Result<(), WireError> {
    match version {
        VERSION => Ok(()),
        other => Err(WireError::new(
            "version",
            format!("is {other}, and {VERSION} is known here"),
        )),
    }
}

/// One page of what a host should run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlicePage {
    /// The page; the whole slice when nothing is before and after it.
    pub slice: HostSlice,
    /// Whether there are more VMs after its last one.
    pub more: bool,
}

/// A page of a host's slice, as it is sent.
pub fn slice_to_wire(page: &SlicePage) -> v1::HostSlice {
    v1::HostSlice {
        host: page.slice.host.to_string(),
        feed: page.slice.feed.0,
        vms: page.slice.vms.iter().map(desired_to_wire).collect(),
        more: page.more,
        refused: None,
        version: VERSION,
    }
}

/// A page of a host's slice, as it was sent. The caller has looked for a refusal before.
pub fn slice_from_wire(slice: v1::HostSlice) -> Result<SlicePage, WireError> {
    check_version(slice.version)?;
    Ok(SlicePage {
        slice: HostSlice {
            host: parse("host", &slice.host)?,
            feed: Seq(slice.feed),
            vms: desired_list(slice.vms)?,
        },
        more: slice.more,
    })
}

/// What changed for one host between two positions of its feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedDelta {
    /// The host.
    pub host: HostId,
    /// The position before; `None` when the publisher does not know it.
    pub prev: Option<Seq>,
    /// The position after.
    pub feed: Seq,
    /// VMs that are new or changed, in their newest state.
    pub vms: Vec<DesiredVm>,
    /// VMs that are no longer this host's.
    pub gone: Vec<VmId>,
}

/// What changed for one host, as it is sent.
pub fn delta_to_wire(delta: &FeedDelta) -> v1::FeedDelta {
    v1::FeedDelta {
        host: delta.host.to_string(),
        prev: delta.prev.unwrap_or_default().0,
        feed: delta.feed.0,
        vms: delta.vms.iter().map(desired_to_wire).collect(),
        gone: delta.gone.iter().map(ToString::to_string).collect(),
        version: VERSION,
    }
}

/// What changed for one host, as it was sent.
pub fn delta_from_wire(delta: v1::FeedDelta) -> Result<FeedDelta, WireError> {
    check_version(delta.version)?;
    let gone = |(index, id): (usize, &String)| parse(&format!("gone[{index}]"), id);
    Ok(FeedDelta {
        host: parse("host", &delta.host)?,
        prev: (delta.prev != 0).then_some(Seq(delta.prev)),
        feed: Seq(delta.feed),
        vms: desired_list(delta.vms)?,
        gone: delta
            .gone
            .iter()
            .enumerate()
            .map(gone)
            .collect::<Result<_, _>>()?,
    })
}
