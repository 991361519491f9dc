//! A projection taken apart, for files: the two tables that can be large, and the rest. What has not changed in a table
//! since it was last written need not be encoded again.
//!
//! What only finds things again (names, and which VMs a host has) is left out and made anew.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

use crate::cluster::Cluster;
use crate::hash::RecordHash;
use crate::host::Host;
use crate::ids::{CommandId, HostId, VmId};
use crate::projection::{Outcome, Projection};
use crate::seq::Seq;
use crate::time::Timestamp;
use crate::vm::{Power, Vm};
use crate::vm_names::VmNames;

/// A table of a projection. A copy costs nothing.
pub type Table<K, V> = OrdMap<K, Arc<V>>;

/// A projection in parts: together they are the whole of it.
#[derive(Debug, Clone, Default)]
pub struct Parts {
    /// What is not in the tables.
    pub rest: Rest,
    /// The VMs.
    pub vms: Table<VmId, Vm>,
    /// What came of commands.
    pub outcomes: Table<CommandId, Outcome>,
}

/// All of a projection but its tables. It grows with the number of hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rest {
    seq: Seq,
    time: Timestamp,
    hash: RecordHash,
    published: Seq,
    /// Without the VMs on them.
    hosts: Vec<Host>,
    cluster: Cluster,
}

impl From<&Projection> for Parts {
    fn from(state: &Projection) -> Self {
        // Each field by name: one that is added has to be dealt with here.
        let Projection {
            seq,
            time,
            hash,
            published,
            vms,
            vm_names: _,
            bin: _,
            hosts,
            host_names: _,
            outcomes,
            cluster,
        } = state;
        let bare = |host: &Arc<Host>| Host {
            vms: OrdSet::new(),
            ..Host::clone(host)
        };
        Self {
            rest: Rest {
                seq: *seq,
                time: *time,
                hash: *hash,
                published: *published,
                hosts: hosts.values().map(bare).collect(),
                cluster: cluster.clone(),
            },
            vms: vms.clone(),
            outcomes: outcomes.clone(),
        }
    }
}

impl From<Parts> for Projection {
    fn from(parts: Parts) -> Self {
        let Parts { rest, vms, outcomes } = parts;
        let mut hosts: OrdMap<HostId, Host> = rest.hosts.into_iter().map(|host| (host.id, host)).collect();
        for vm in vms.values() {
            if let Some(host) = vm.placement.and_then(|placed| hosts.get_mut(&placed.host)) {
                host.vms.insert(vm.id);
            }
        }
        let (mut vm_names, mut bin) = (VmNames::default(), OrdSet::new());
        for vm in vms.values() {
            match vm.binned() {
                None => vm_names.insert(&vm.project, &vm.name, vm.id),
                Some(until) if vm.power != Power::Deleted => {
                    bin.insert((until, vm.id));
                }
                Some(_) => {}
            }
        }
        Self {
            seq: rest.seq,
            time: rest.time,
            hash: rest.hash,
            published: rest.published,
            vm_names,
            bin,
            vms,
            host_names: hosts.values().map(|host| (host.name.clone(), host.id)).collect(),
            hosts: hosts.into_iter().map(|(id, host)| (id, Arc::new(host))).collect(),
            outcomes,
            cluster: rest.cluster,
        }
    }
}
