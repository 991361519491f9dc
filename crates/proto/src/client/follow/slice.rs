//! Which events are about a slice of the state: one VM, one project, one host, or everything. Pure.
//!
//! It begins with what the slice held in a snapshot and is told every event after it, in order: a VM can come into the
//! slice of a host, and leave it, by events alone.

use std::collections::BTreeSet;

use chv_domain::{Event, HostId, HostName, ProjectName, Resource, VmId};

/// A part of the state that can be watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slice {
    /// Everything: VMs, hosts and the cluster.
    Everything,
    /// One VM.
    Vm(VmId),
    /// The VMs of a project.
    Project(ProjectName),
    /// A host, and the VMs that are placed on it, each from its placement there to its next one elsewhere.
    Host(HostName),
}

/// What a slice holds, at some event.
#[derive(Debug, Clone)]
pub struct Members {
    slice: Slice,
    vms: BTreeSet<VmId>,
    host: Option<HostId>,
}

impl Members {
    /// What `slice` holds in a snapshot: these VMs, and for a host, its id if it was registered.
    pub fn new(slice: Slice, vms: impl IntoIterator<Item = VmId>, host: Option<HostId>) -> Self {
        Self {
            slice,
            vms: vms.into_iter().collect(),
            host,
        }
    }

    /// Whether the next event is about the slice, before it or after it.
    pub fn take(&mut self, event: &Event) -> bool {
        match &self.slice {
            Slice::Everything => true,
            Slice::Vm(vm) => event.resource() == Resource::Vm(*vm),
            Slice::Project(project) => {
                if let Event::VmCreated { vm, project: of, .. } = event
                    && of == project
                {
                    self.vms.insert(*vm);
                }
                self.about_member(event)
            }
            Slice::Host(name) => {
                if let Event::HostRegistered { host, name: of, .. } = event
                    && of == name
                {
                    self.host = Some(*host);
                }
                match event {
                    Event::VmPlaced { vm, placed } if placed.name == *name => {
                        self.vms.insert(*vm);
                        true
                    }
                    // It leaves, if it was here.
                    Event::VmPlaced { vm, .. } => self.vms.remove(vm),
                    event => self.about_member(event),
                }
            }
        }
    }

    fn about_member(&mut self, event: &Event) -> bool {
        match (event.resource(), event) {
            (Resource::Vm(vm), Event::VmDeleted { .. }) => self.vms.remove(&vm),
            (Resource::Vm(vm), _) => self.vms.contains(&vm),
            (Resource::Host(host), _) => self.host == Some(host),
            (Resource::Cluster, _) => false,
        }
    }
}

#[cfg(test)]
#[path = "slice_tests.rs"]
mod tests;
