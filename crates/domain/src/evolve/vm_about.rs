//! What events do to what is said of VMs: names, labels, annotations, protection. None of it changes what a VM should be.

use std::collections::BTreeMap;

use super::host;
use super::vm::change;
use crate::ids::VmId;
use crate::name::VmName;
use crate::projection::Projection;
use crate::seq::Seq;

pub(super) fn renamed(state: &mut Projection, seq: Seq, id: VmId, name: &VmName) {
    let Some(vm) = state.vms.get(&id) else { return };
    let (project, placement) = (vm.project.clone(), vm.placement);
    state.vm_names.remove(&project, &vm.name, id);
    state.vm_names.insert(&project, name, id);
    change(state, id, |vm| vm.name = name.clone());
    // Its host knows it by name, too.
    if let Some(placement) = placement {
        host::change(state, placement.host, |host| host.feed = seq);
    }
}

pub(super) fn labelled(state: &mut Projection, id: VmId, labels: &BTreeMap<String, String>) {
    change(state, id, |vm| vm.labels.clone_from(labels));
}

pub(super) fn annotated(state: &mut Projection, id: VmId, annotations: &BTreeMap<String, String>) {
    change(state, id, |vm| {
        vm.change_aside(|aside| aside.annotations.clone_from(annotations));
    });
}

pub(super) fn protected(state: &mut Projection, id: VmId, protected: bool) {
    change(state, id, |vm| {
        vm.change_aside(|aside| aside.protected = protected)
    });
}
