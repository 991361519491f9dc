//! What of a changed spec can be made of a guest while it runs, as the one next change; and what needs a new start. Pure.

use std::fmt;
use std::sync::Arc;

use chv_domain::spec::{
    Balloon, DeviceId, Disk, DiskFormat, FieldPath, HotplugMethod, Lack, MachineType, Nic, Part,
};
use chv_domain::{HypervisorKind, Memory, Vcpus, VmSpec};
use serde::{Deserialize, Serialize};

/// As many devices as QEMU has ports for that nothing is in when it is started.
pub(crate) const QEMU_FREE_PORTS: usize = 4;

/// In MiB: a module of memory, and a block of the device that gives memory back too.
const MODULE_MIB: u32 = 128;
const BLOCK_MIB: u32 = 2;

/// What a guest that runs was started as, and what was made of it since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runs {
    /// What runs it.
    pub kind: HypervisorKind,
    /// Whether it is behind a wall.
    pub walled: bool,
    /// What it was started as.
    pub started: Arc<VmSpec>,
    /// What it is by now.
    pub is: Arc<VmSpec>,
    /// A change of which it is not known whether it was made.
    pub begun: Option<Begun>,
}

/// A change that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// It.
    pub change: Change,
    /// What the guest is once it is made.
    pub is: Arc<VmSpec>,
}

/// One thing that is made of a guest while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// It has so many processors.
    Vcpus(Vcpus),
    /// It has so much memory.
    Memory(Memory),
    /// It gives so much of its memory back; nothing when `None`.
    Balloon(Option<Memory>),
    /// It has this disk as well.
    AttachDisk(Box<Disk>),
    /// It does not have this disk any more.
    DetachDisk(DeviceId),
    /// It has this network card as well.
    AttachNic(Box<Nic>),
    /// It does not have this network card any more.
    DetachNic(DeviceId),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vcpus(vcpus) => write!(f, "{vcpus} vCPUs"),
            Self::Memory(size) => write!(f, "{size} of memory"),
            Self::Balloon(Some(size)) => write!(f, "{size} given back"),
            Self::Balloon(None) => f.write_str("no memory given back"),
            Self::AttachDisk(disk) => write!(f, "the disk {}", disk.id),
            Self::DetachDisk(id) => write!(f, "the disk {id} taken out"),
            Self::AttachNic(nic) => write!(f, "the network card {}", nic.id),
            Self::DetachNic(id) => write!(f, "the network card {id} taken out"),
        }
    }
}

/// What is to be done about a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// This, by which the guest becomes that.
    Make(Change, Arc<VmSpec>),
    /// Nothing, for these fields need a new start; none when it is all of the spec.
    Nothing(Vec<FieldPath>),
}

impl Runs {
    /// Of a guest that was started as `spec`.
    pub fn started(kind: HypervisorKind, walled: bool, spec: Arc<VmSpec>) -> Self {
        Self {
            kind,
            walled,
            is: Arc::clone(&spec),
            started: spec,
            begun: None,
        }
    }

    /// The next step from what it is to what is wanted; what was begun comes first.
    pub fn next(&self, wanted: &VmSpec) -> Next {
        if let Some(begun) = &self.begun {
            return self.end(begun, wanted);
        }
        if *self.is == *wanted {
            return Next::Nothing(Vec::new());
        }
        let mut is = VmSpec::clone(&self.is);
        if let Some(change) = self.change(&mut is, wanted) {
            return Next::Make(change, Arc::new(is));
        }
        settle(&mut is, wanted);
        Next::Nothing(is.differs_in(wanted))
    }

    /// Ends a change that was begun: made, where it still is wanted or can't be taken back; else taken back.
    fn end(&self, Begun { change, is }: &Begun, wanted: &VmSpec) -> Next {
        let mut other = VmSpec::clone(&self.is);
        let now = &self.is;
        let make = |change: Change| Next::Make(change, Arc::clone(now));
        match (change, self.resize(&mut other, wanted)) {
            (Change::Vcpus(_), Some(change @ Change::Vcpus(_)))
            | (Change::Balloon(_), Some(change @ Change::Balloon(_))) => Next::Make(change, Arc::new(other)),
            (Change::Memory(_), Some(change @ Change::Memory(_))) if self.by_device() => {
                Next::Make(change, Arc::new(other))
            }
            (Change::Vcpus(_), _) => make(Change::Vcpus(now.cpu.vcpus)),
            (Change::Memory(_), _) if self.by_device() => make(Change::Memory(now.memory.size)),
            (Change::Balloon(_), _) => make(Change::Balloon(
                now.memory.balloon.as_ref().and_then(|balloon| balloon.size),
            )),
            (Change::AttachDisk(disk), _) if !wanted.disks.contains(disk) => {
                make(Change::DetachDisk(disk.id.clone()))
            }
            (Change::AttachNic(nic), _) if !wanted.nics.contains(nic) => {
                make(Change::DetachNic(nic.id.clone()))
            }
            // Modules of memory stay, and a guest that was asked to let go of a device may do so at any time.
            (
                Change::Memory(_)
                | Change::AttachDisk(_)
                | Change::AttachNic(_)
                | Change::DetachDisk(_)
                | Change::DetachNic(_),
                _,
            ) => Next::Make(change.clone(), Arc::clone(is)),
        }
    }

    /// Whether its memory comes by a device that takes it back, too.
    fn by_device(&self) -> bool {
        let hotplug = self.started.memory.hotplug.as_ref();
        hotplug.is_some_and(|hotplug| hotplug.method == HotplugMethod::VirtioMem)
    }

    /// Makes one change of `is` that can be made while it runs.
    fn change(&self, is: &mut VmSpec, wanted: &VmSpec) -> Option<Change> {
        // Neither has a way for anything to come or go.
        if self.kind == HypervisorKind::Firecracker || self.started.machine == Some(MachineType::Microvm) {
            return None;
        }
        self.detach(is, wanted)
            .or_else(|| self.attach(is, wanted))
            .or_else(|| self.resize(is, wanted))
    }

    fn resize(&self, is: &mut VmSpec, wanted: &VmSpec) -> Option<Change> {
        let cpu = &self.started.cpu;
        let vcpus = wanted.cpu.vcpus;
        // QEMU's are put where they run when it is started.
        let placed = self.kind.is_qemu() && !cpu.affinity.is_empty();
        if is.cpu.vcpus != vcpus && !placed && (cpu.vcpus..=cpu.most()).contains(&vcpus) {
            is.cpu.vcpus = vcpus;
            return Some(Change::Vcpus(vcpus));
        }
        let size = wanted.memory.size;
        if is.memory.size != size && self.has_room(is.memory.size, size) {
            is.memory.size = size;
            return Some(Change::Memory(size));
        }
        // What it gives back is of the memory that it has.
        if is.memory.size == wanted.memory.size
            && let (Some(is), Some(Balloon { size, .. })) = (&mut is.memory.balloon, &wanted.memory.balloon)
            && is.size != *size
        {
            is.size = *size;
            return Some(Change::Balloon(*size));
        }
        None
    }

    /// Whether its memory can be made `size` while it is `is`.
    fn has_room(&self, is: Memory, size: Memory) -> bool {
        let Some(hotplug) = &self.started.memory.hotplug else {
            return false;
        };
        let least = self.started.memory.size.mib();
        let Some(more) = size.mib().checked_sub(least) else {
            return false;
        };
        let fits = more <= hotplug.size.mib();
        fits && match hotplug.method {
            HotplugMethod::Acpi => size > is && (size.mib() - is.mib()).is_multiple_of(MODULE_MIB),
            HotplugMethod::VirtioMem => more.is_multiple_of(BLOCK_MIB),
        }
    }

    fn detach(&self, is: &mut VmSpec, wanted: &VmSpec) -> Option<Change> {
        if self.started.machine == Some(MachineType::Microvm) {
            return None;
        }
        let gone = |disk: &Disk| {
            let there = wanted.disks.iter().any(|wanted| wanted.id == disk.id);
            disk.format != DiskFormat::VhostUser && !there
        };
        if let Some(place) = is.disks.iter().position(gone) {
            return Some(Change::DetachDisk(is.disks.remove(place).id));
        }
        let gone = |nic: &Nic| !nic.is_vhost_user() && wanted.nics.iter().all(|wanted| wanted.id != nic.id);
        let place = is.nics.iter().position(gone)?;
        Some(Change::DetachNic(is.nics.remove(place).id))
    }

    fn attach(&self, is: &mut VmSpec, wanted: &VmSpec) -> Option<Change> {
        if self.kind.is_qemu() && self.attached(is) >= QEMU_FREE_PORTS {
            return None;
        }
        let can = |lack: Option<Lack>| lack.is_none();
        let new = |disk: &&Disk| {
            let plain = disk.format != DiskFormat::VhostUser && !disk.iommu && disk.pci_segment.is_none();
            plain && is.disks.iter().all(|there| there.id != disk.id) && can(disk.lacks(self.kind))
        };
        if let Some(disk) = wanted.disks.iter().find(new).cloned() {
            is.disks.push(disk.clone());
            return Some(Change::AttachDisk(Box::new(disk)));
        }
        // Behind a wall, one that had no card is in a network of its own: nothing can be plugged in there.
        if self.walled && self.started.nics.is_empty() {
            return None;
        }
        let new = |nic: &&Nic| {
            let plain = !nic.is_vhost_user() && !nic.iommu && nic.pci_segment.is_none();
            plain && is.nics.iter().all(|there| there.id != nic.id) && can(nic.lacks(self.kind))
        };
        let nic = wanted.nics.iter().find(new).cloned()?;
        is.nics.push(nic.clone());
        Some(Change::AttachNic(Box::new(nic)))
    }

    /// How many devices it has that it was not started with.
    fn attached(&self, is: &VmSpec) -> usize {
        let started = &self.started;
        let disk = |disk: &&Disk| started.disks.iter().all(|there| there.id != disk.id);
        let nic = |nic: &&Nic| started.nics.iter().all(|there| there.id != nic.id);
        is.disks.iter().filter(disk).count() + is.nics.iter().filter(nic).count()
    }
}

/// Takes over what needs nothing of the guest, and the order of devices, which means something only at a start.
fn settle(is: &mut VmSpec, wanted: &VmSpec) {
    is.stop_timeout = wanted.stop_timeout;
    is.restart = wanted.restart.clone();
    is.start_priority = wanted.start_priority;
    let place = |id: &DeviceId| wanted.disks.iter().position(|disk| disk.id == *id);
    is.disks.sort_by_key(|disk| place(&disk.id));
    let place = |id: &DeviceId| wanted.nics.iter().position(|nic| nic.id == *id);
    is.nics.sort_by_key(|nic| place(&nic.id));
}

#[cfg(test)]
mod tests;
