//! What events do to what VMs are: another spec, and how much of it the guest that runs has.

use std::sync::Arc;

use super::host;
use super::vm::{change, ordered_by, shared};
use crate::ids::VmId;
use crate::projection::Projection;
use crate::record::Record;
use crate::seq::Seq;
use crate::spec::{FieldPath, VmSpec};
use crate::vm::{Unapplied, Vm};

pub(super) fn changed(state: &mut Projection, record: &Record, seq: Seq, id: VmId, spec: &Arc<VmSpec>) {
    let spec = shared(state, spec);
    let mut placement = None;
    reserving(state, id, |vm| {
        let before = vm.reserved();
        vm.spec = spec;
        vm.ordered = ordered_by(record, seq);
        // What stood in the way of what it was to be; its host says so again if it still does.
        vm.trouble = None;
        // One that should run may be being started as it was.
        let unapplied = (vm.is_running() || vm.power.runs()).then_some(Unapplied {
            order: seq,
            restart_needed: None,
            before,
        });
        vm.change_aside(|aside| (aside.changed, aside.unapplied) = (seq, unapplied));
        placement = vm.placement;
    });
    if let Some(placement) = placement {
        host::change(state, placement.host, |host| host.feed = seq);
    }
}

pub(super) fn applied(state: &mut Projection, id: VmId, restart_needed: &[FieldPath]) {
    reserving(state, id, |vm| {
        vm.trouble = None;
        vm.change_aside(|aside| {
            aside.unapplied = aside.unapplied.take().and_then(|unapplied| {
                (!restart_needed.is_empty()).then(|| Unapplied {
                    restart_needed: Some(restart_needed.to_vec()),
                    ..unapplied
                })
            });
        });
    });
}

/// It was started by a host that knew what it is to be as of `knew`: a later change is still to be made.
pub(super) fn started(state: &mut Projection, id: VmId, knew: Seq) {
    reserving(state, id, |vm| {
        vm.change_aside(|aside| {
            aside.unapplied = aside
                .unapplied
                .take()
                .filter(|unapplied| unapplied.order > knew)
                .map(|unapplied| Unapplied {
                    restart_needed: None,
                    ..unapplied
                });
        });
    });
}

pub(super) fn ended(state: &mut Projection, id: VmId) {
    reserving(state, id, |vm| vm.change_aside(|aside| aside.unapplied = None));
}

/// Changes a VM, and what its host keeps for it.
fn reserving(state: &mut Projection, id: VmId, to: impl FnOnce(&mut Vm)) {
    let Some(vm) = state.vms.get(&id) else { return };
    let (before, placement) = (vm.reserved(), vm.placement);
    change(state, id, to);
    let Some(after) = state.vms.get(&id).map(|vm| vm.reserved()) else {
        return;
    };
    if let Some(placement) = placement.filter(|_| before != after) {
        host::change(state, placement.host, |host| {
            host.reserved = host.reserved.minus(before).plus(after);
        });
    }
}
