//! Which VMs are to be placed elsewhere because their host's lease is over. Pure: where to is decided like any
//! command, by the domain's rule.

use std::time::Instant;

use chv_domain::{Epoch, HostId, Projection, VmId};

use super::leases::Leases;

/// A VM that is to leave its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// The host, whose lease is over.
    pub from: HostId,
    /// The VM, which asks for failover.
    pub vm: VmId,
    /// The grant that the host has lost.
    pub epoch: Epoch,
}

/// At most `most` of the VMs that are to leave their hosts, by host and id, the first of them behind `after`.
pub fn due(
    state: &Projection,
    leases: &Leases,
    now: Instant,
    after: Option<(HostId, VmId)>,
    most: usize,
) -> Vec<Move> {
    let lost = state.hosts_by_name().filter(|host| leases.is_over(host.id, now));
    let mut due: Vec<Move> = lost
        .flat_map(|host| host.vms.iter().map(|vm| (host.id, *vm)))
        .filter_map(|(from, vm)| {
            let placement = state.vm(vm).filter(|vm| vm.fails_over())?.placement?;
            let epoch = placement.epoch;
            Some(Move { from, vm, epoch })
        })
        .collect();
    due.sort_unstable_by_key(|due| (due.from, due.vm));
    let begin = after.map_or(0, |after| due.partition_point(|due| (due.from, due.vm) <= after));
    if begin < due.len() {
        due.rotate_left(begin);
    }
    due.truncate(most);
    due
}
