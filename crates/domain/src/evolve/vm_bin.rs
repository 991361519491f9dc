//! What events do to VMs that are deleted and can be undeleted: they have no name, and are in the bin, in the order in
//! which their times are over.

use super::vm::change;
use crate::ids::VmId;
use crate::name::VmName;
use crate::projection::Projection;
use crate::time::Timestamp;

pub(super) fn binned(state: &mut Projection, id: VmId, until: Timestamp) {
    taken_out(state, id);
    let Some(vm) = state.vms.get(&id) else { return };
    state.vm_names.remove(&vm.project, &vm.name, id);
    state.bin.insert((until, id));
    change(state, id, |vm| {
        vm.change_aside(|aside| aside.binned = Some(until))
    });
}

pub(super) fn undeleted(state: &mut Projection, id: VmId, name: &VmName) {
    taken_out(state, id);
    change(state, id, |vm| {
        vm.name = name.clone();
        vm.change_aside(|aside| aside.binned = None);
    });
    if let Some(vm) = state.vms.get(&id) {
        state.vm_names.insert(&vm.project, name, id);
    }
}

/// Its time is over, or does not count any more. Its name is not given back.
pub(super) fn taken_out(state: &mut Projection, id: VmId) {
    let until = state.vms.get(&id).and_then(|vm| vm.binned());
    if let Some(until) = until {
        state.bin.remove(&(until, id));
    }
}
