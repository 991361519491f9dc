//! What must hold of every projection. Tests check it after every step they take; nothing else does.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cluster::{Cluster, Member, Standing};
use crate::host::Capacity;
use crate::projection::Projection;
use crate::vm::{Power, Vm};

/// Every violated invariant, in words; empty when all hold.
pub fn violations(state: &Projection) -> Vec<String> {
    let mut found = Vec::new();
    names(state, &mut found);
    reservations(state, &mut found);
    outcomes(state, &mut found);
    cluster(state.cluster(), &mut found);
    if state.cluster().oldest_kept() > state.seq().next() {
        found.push("more is forgotten than ever was".to_owned());
    }
    if state.published() > state.seq() {
        found.push(format!(
            "published {} of {} events",
            state.published(),
            state.seq()
        ));
    }
    found
}

fn names(state: &Projection, found: &mut Vec<String>) {
    let named: Vec<_> = state.vms.values().filter(|vm| vm.binned().is_none()).collect();
    if state.vm_names.len() != named.len() {
        found.push(format!(
            "{} VM names for {} VMs that have one",
            state.vm_names.len(),
            named.len()
        ));
    }
    let binned = |vm: &&Arc<Vm>| vm.binned().is_some() && vm.power != Power::Deleted;
    let mut bin: Vec<_> = state
        .vms
        .values()
        .filter(binned)
        .filter_map(|vm| Some((vm.binned()?, vm.id)))
        .collect();
    bin.sort_unstable();
    if !state.bin.iter().copied().eq(bin) {
        found.push("the bin has other VMs than are deleted and can be undeleted".to_owned());
    }
    for vm in named {
        let named = state.vm_names.get(&vm.project, &vm.name);
        if named != Some(vm.id) {
            found.push(format!(
                "the name {}/{} leads to {named:?}, not to {}",
                vm.project, vm.name, vm.id
            ));
        }
    }
    for host in state.hosts.values() {
        if state.host_names.get(&host.name) != Some(&host.id) {
            found.push(format!(
                "the name {} does not lead to host {}",
                host.name, host.id
            ));
        }
    }
    if state.host_names.len() != state.hosts.len() {
        found.push(format!(
            "{} host names for {} hosts",
            state.host_names.len(),
            state.hosts.len()
        ));
    }
}

fn reservations(state: &Projection, found: &mut Vec<String>) {
    let mut expected: BTreeMap<_, (Capacity, Vec<_>)> = BTreeMap::new();
    for vm in state.vms.values() {
        if vm.binned().is_some() && (vm.power.runs() || vm.power == Power::Paused) {
            found.push(format!("VM {} is deleted and should run", vm.id));
        }
        if vm.power == Power::Paused && !vm.is_running() {
            found.push(format!("VM {} is to be held and does not run", vm.id));
        }
        if vm
            .unapplied()
            .is_some_and(|unapplied| unapplied.order > vm.revision())
        {
            found.push(format!("VM {} has a change from after its revision", vm.id));
        }
        if matches!(vm.power, Power::Rebooting(reboot) if reboot.order > vm.revision()) {
            found.push(format!("VM {} has an order from after its revision", vm.id));
        }
        let Some(placement) = vm.placement else {
            found.push(format!("VM {} is not placed", vm.id));
            continue;
        };
        if placement.epoch.0 > state.seq() {
            found.push(format!("VM {} has an epoch from the future", vm.id));
        }
        let entry = expected.entry(placement.host).or_default();
        entry.0 = entry.0.plus(vm.reserved());
        entry.1.push(vm.id);
    }
    for host in state.hosts.values() {
        let (reserved, vms) = expected.remove(&host.id).unwrap_or_default();
        if host.reserved != reserved {
            found.push(format!(
                "host {} reserves {:?}, its VMs need {reserved:?}",
                host.name, host.reserved
            ));
        }
        if !host.vms.iter().eq(vms.iter()) {
            found.push(format!(
                "host {} lists other VMs than are placed there",
                host.name
            ));
        }
        if host.feed > state.seq() {
            found.push(format!("host {} has a feed from the future", host.name));
        }
    }
    for host in expected.keys() {
        found.push(format!("VMs are placed on {host}, which is no host"));
    }
}

fn cluster(cluster: &Cluster, found: &mut Vec<String>) {
    let changing = |standing: Standing| standing != Standing::Voting;
    let moving = cluster.members().filter(|(_, member)| changing(member.standing));
    if moving.count() > 1 {
        found.push("more than one change of the membership is under way".to_owned());
    }
    if cluster.is_formed() && cluster.voters().is_empty() {
        found.push("the cluster would have no voter".to_owned());
    }
    for (replica, member) in cluster.members() {
        if cluster.has_left(replica) {
            found.push(format!("replica {replica} is a member and has left"));
        }
        let shares = |(other, its): (_, &Member)| other != replica && its.address == member.address;
        if cluster.members().any(shares) {
            found.push(format!("replica {replica} shares its address"));
        }
    }
}

fn outcomes(state: &Projection, found: &mut Vec<String>) {
    let mut spans: Vec<_> = state
        .outcomes
        .values()
        .map(|outcome| (outcome.first, outcome.last))
        .collect();
    spans.sort_unstable();
    for pair in spans.windows(2) {
        if pair[0].1 >= pair[1].0 {
            found.push(format!("two commands share the events from {}", pair[1].0));
        }
    }
}
