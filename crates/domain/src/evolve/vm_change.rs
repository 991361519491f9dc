//! What events do to what VMs are: another spec, and how much of it the guest that runs has.

use std::sync::Arc;

use super::host;
use super::vm::{change, ordered_by, shared};
use crate::ids::VmId;
use crate::projection::Projection;
use crate::record::Record;
use crate::seq::Seq;
use crate::spec::{FieldPath, OnHostLoss, VmSpec};
use crate::vm::{Unapplied, Vm};

pub(super) fn changed(state: &mut Projection, record: &Record, seq: Seq, id: VmId, spec: &Arc<VmSpec>) {
    let spec = shared(state, spec);
    let mut placement = None;
    reserving(state, id, |vm| {
        // Also where it does not seem to run: the word that it does may be on its way.
        let unapplied = Unapplied {
            order: seq,
            restart_needed: None,
            before: vm.reserved(),
            unleased: vm.spec.on_host_loss == OnHostLoss::Stay
                || vm.unapplied().is_some_and(|unapplied| unapplied.unleased),
        };
        vm.spec = spec;
        vm.ordered = ordered_by(record, seq);
        // What stood in the way of what it was to be; its host says so again if it still does.
        vm.trouble = None;
        vm.change_aside(|aside| (aside.changed, aside.unapplied) = (seq, Some(unapplied)));
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

/// It was started, or has ended, on a host that knew what it is to be as of `knew`: a later change is still to be made.
pub(super) fn begins_anew(state: &mut Projection, id: VmId, knew: Seq) {
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
