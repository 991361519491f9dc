//! What events do to VMs, and to the reservations that their hosts hold for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{host, vm_change};
use crate::event::ExitReason;
use crate::host::{Capacity, HypervisorKind};
use crate::ids::{HostId, VmId};
use crate::name::{ProjectName, VmName};
use crate::projection::Projection;
use crate::record::Record;
use crate::restart::Aftermath;
use crate::seq::{Epoch, Seq};
use crate::spec::VmSpec;
use crate::vm::{Ordered, Phase, Placement, Power, StopHow, Trouble, Vm};

/// Who a new VM is.
pub(super) struct Identity<'a> {
    pub(super) id: VmId,
    pub(super) project: &'a ProjectName,
    pub(super) name: &'a VmName,
    pub(super) labels: &'a BTreeMap<String, String>,
}

pub(super) fn ordered_by(record: &Record, seq: Seq) -> Ordered {
    Ordered {
        command: record.cause.command,
        seq,
        time: record.time,
        trace: record.trace.map(Box::new),
    }
}

pub(super) fn created(
    state: &mut Projection,
    record: &Record,
    seq: Seq,
    identity: Identity<'_>,
    spec: &Arc<VmSpec>,
    power: Power,
) {
    let Identity {
        id,
        project,
        name,
        labels,
    } = identity;
    let vm = Vm {
        id,
        project: project.clone(),
        name: name.clone(),
        labels: labels.clone(),
        aside: None,
        spec: shared(state, spec),
        power,
        ordered: ordered_by(record, seq),
        placement: None,
        phase: Phase::Created,
        trouble: None,
        created: record.time,
    };
    state.vms.insert(id, Arc::new(vm));
    state.vm_names.insert(project, name, id);
}

/// VMs that are made alike usually come one after the other: they share what they are, as long as nobody looks at where
/// it lies.
pub(super) fn shared(state: &Projection, spec: &Arc<VmSpec>) -> Arc<VmSpec> {
    match state.vms.get_max() {
        Some((_, newest)) if newest.spec == *spec => Arc::clone(&newest.spec),
        _ => Arc::clone(spec),
    }
}

pub(super) fn placed(state: &mut Projection, seq: Seq, id: VmId, to: HostId) {
    let Some(vm) = state.vms.get_mut(&id) else { return };
    let vm = Arc::make_mut(vm);
    let before = vm.placement.replace(Placement {
        host: to,
        epoch: Epoch(seq),
    });
    // What stood in the way, did so elsewhere.
    vm.trouble = None;
    let held = vm.reserved();
    vm.change_aside(|aside| aside.unapplied = None);
    let reserved = vm.reserved();
    if let Some(before) = before {
        release(state, seq, id, before.host, held);
    }
    host::change(state, to, |host| {
        host.vms.insert(id);
        host.reserved = host.reserved.plus(reserved);
        host.feed = seq;
    });
}

/// Takes a VM's reservation off the host that held it.
fn release(state: &mut Projection, seq: Seq, id: VmId, held: HostId, reserved: Capacity) {
    host::change(state, held, |host| {
        host.vms.remove(&id);
        host.reserved = host.reserved.minus(reserved);
        host.feed = seq;
    });
}

pub(super) fn ordered(state: &mut Projection, record: &Record, seq: Seq, id: VmId, power: Power) {
    let mut placement = None;
    change(state, id, |vm| {
        vm.power = power;
        vm.ordered = ordered_by(record, seq);
        // What stood in the way of another order; the host says so again if it still does.
        vm.trouble = None;
        vm.change_aside(|aside| aside.stays = None);
        placement = vm.placement;
    });
    if let Some(placement) = placement {
        host::change(state, placement.host, |host| host.feed = seq);
    }
}

pub(super) fn running(
    state: &mut Projection,
    record: &Record,
    seq: Seq,
    id: VmId,
    hypervisor: HypervisorKind,
    pid: u32,
) {
    change(state, id, |vm| {
        vm.phase = Phase::Running {
            hypervisor,
            pid,
            since: record.time,
            ready: None,
            paused: false,
        };
        vm.trouble = None;
    });
    // It was started by a host that knew of the order.
    let knew = record.cause.follows.unwrap_or_default();
    vm_change::begins_anew(state, id, knew);
    booted(state, seq, id, knew);
}

/// It has booted, after the order `after` and those before it.
fn booted(state: &mut Projection, seq: Seq, id: VmId, after: Seq) {
    let ordered = state.vms.get(&id).map(|vm| vm.power);
    if matches!(ordered, Some(Power::Rebooting(reboot)) if reboot.order <= after) {
        becomes(state, seq, id, Power::Running);
    }
}

/// What it should be changes without an order, by what was measured.
fn becomes(state: &mut Projection, seq: Seq, id: VmId, power: Power) {
    let mut placement = None;
    change(state, id, |vm| {
        vm.power = power;
        placement = vm.placement;
    });
    if let Some(placement) = placement {
        host::change(state, placement.host, |host| host.feed = seq);
    }
}

pub(super) fn adopted(
    state: &mut Projection,
    record: &Record,
    id: VmId,
    hypervisor: HypervisorKind,
    pid: u32,
) {
    change(state, id, |vm| {
        vm.trouble = None;
        match &vm.phase {
            Phase::Running { pid: known, .. } if *known == pid => {}
            _ => {
                vm.phase = Phase::Running {
                    hypervisor,
                    pid,
                    since: record.time,
                    ready: None,
                    paused: false,
                }
            }
        }
    });
}

pub(super) fn ready(state: &mut Projection, record: &Record, id: VmId) {
    change(state, id, |vm| {
        if let Phase::Running { ready, .. } = &mut vm.phase {
            *ready = Some(record.time);
        }
    });
}

pub(super) fn held(state: &mut Projection, id: VmId, held: bool) {
    change(state, id, |vm| {
        if let Phase::Running { paused, .. } = &mut vm.phase {
            *paused = held;
        }
    });
}

pub(super) fn rebooted(state: &mut Projection, seq: Seq, id: VmId, order: Option<Seq>) {
    change(state, id, |vm| {
        if let Phase::Running { ready, paused, .. } = &mut vm.phase {
            (*ready, *paused) = (None, false);
        }
    });
    if let Some(order) = order {
        booted(state, seq, id, order);
    }
}

pub(super) fn exited(
    state: &mut Projection,
    record: &Record,
    seq: Seq,
    id: VmId,
    (reason, then): (&ExitReason, Aftermath),
) {
    let stays = match then {
        Aftermath::Stays(why) => Some(why),
        Aftermath::AsOrdered | Aftermath::Again(_) => None,
    };
    // What was held is lost: it is not made again before somebody asks for it.
    let held = state.vms.get(&id).is_some_and(|vm| vm.power == Power::Paused);
    if held || stays.is_some() {
        becomes(state, seq, id, Power::Stopped(StopHow::Hard));
    }
    vm_change::begins_anew(state, id, record.cause.follows.unwrap_or_default());
    change(state, id, |vm| {
        vm.phase = Phase::Stopped {
            reason: reason.clone(),
            since: record.time,
        };
        vm.trouble = None;
        vm.change_aside(|aside| aside.stays = stays);
    });
}

pub(super) fn blocked(state: &mut Projection, record: &Record, id: VmId, reason: Option<&String>) {
    change(state, id, |vm| {
        vm.trouble = reason.map(|reason| {
            Box::new(Trouble {
                reason: reason.clone(),
                since: record.time,
            })
        });
    });
}

pub(super) fn deleted(state: &mut Projection, seq: Seq, id: VmId) {
    let Some(vm) = state.vms.remove(&id) else { return };
    state.vm_names.remove(&vm.project, &vm.name, id);
    if let Some(until) = vm.binned() {
        state.bin.remove(&(until, id));
    }
    if let Some(placement) = vm.placement {
        release(state, seq, id, placement.host, vm.reserved());
    }
}

pub(super) fn change(state: &mut Projection, id: VmId, change: impl FnOnce(&mut Vm)) {
    if let Some(vm) = state.vms.get_mut(&id) {
        change(Arc::make_mut(vm));
    }
}
