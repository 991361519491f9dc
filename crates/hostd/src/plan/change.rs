//! What of a changed spec can be made of a guest while it runs, as the one next change; and what needs a new start. Pure.

use std::sync::Arc;

use chv_domain::spec::{Balloon, DeviceId, Disk, FieldPath, HotplugMethod, Nic};
use chv_domain::{HypervisorKind, Memory, Vcpus, VmSpec};

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
}

/// One thing that is made of a guest while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
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
        }
    }

    /// The next step from what it is to what is wanted.
    pub fn next(&self, wanted: &VmSpec) -> Next {
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

    /// Makes one change of `is` that can be made while it runs.
    fn change(&self, is: &mut VmSpec, wanted: &VmSpec) -> Option<Change> {
        if self.kind == HypervisorKind::Firecracker {
            return None;
        }
        self.detach(is, wanted)
            .or_else(|| self.attach(is, wanted))
            .or_else(|| self.resize(is, wanted))
    }

    fn resize(&self, is: &mut VmSpec, wanted: &VmSpec) -> Option<Change> {
        let cpu = &self.started.cpu;
        let vcpus = wanted.cpu.vcpus;
        if is.cpu.vcpus != vcpus && (cpu.vcpus..=cpu.most()).contains(&vcpus) {
            is.cpu.vcpus = vcpus;
            return Some(Change::Vcpus(vcpus));
        }
        let size = wanted.memory.size;
        if is.memory.size != size && self.has_room(is.memory.size, size) {
            is.memory.size = size;
            return Some(Change::Memory(size));
        }
        if let (Some(is), Some(Balloon { size, .. })) = (&mut is.memory.balloon, &wanted.memory.balloon)
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
        let gone = |disk: &Disk| wanted.disks.iter().all(|wanted| wanted.id != disk.id);
        if let Some(place) = is.disks.iter().position(gone) {
            return Some(Change::DetachDisk(is.disks.remove(place).id));
        }
        let gone = |nic: &Nic| wanted.nics.iter().all(|wanted| wanted.id != nic.id);
        let place = is.nics.iter().position(gone)?;
        Some(Change::DetachNic(is.nics.remove(place).id))
    }

    fn attach(&self, is: &mut VmSpec, wanted: &VmSpec) -> Option<Change> {
        if self.kind.is_qemu() && self.attached(is) >= QEMU_FREE_PORTS {
            return None;
        }
        let new = |disk: &&Disk| is.disks.iter().all(|there| there.id != disk.id);
        if let Some(disk) = wanted.disks.iter().find(new).cloned() {
            is.disks.push(disk.clone());
            return Some(Change::AttachDisk(Box::new(disk)));
        }
        // Behind a wall, one that had no card is in a network of its own: nothing can be plugged in there.
        if self.walled && self.started.nics.is_empty() {
            return None;
        }
        let new = |nic: &&Nic| is.nics.iter().all(|there| there.id != nic.id);
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
    let place = |id: &DeviceId| wanted.disks.iter().position(|disk| disk.id == *id);
    is.disks.sort_by_key(|disk| place(&disk.id));
    let place = |id: &DeviceId| wanted.nics.iter().position(|nic| nic.id == *id);
    is.nics.sort_by_key(|nic| place(&nic.id));
}

#[cfg(test)]
mod tests;
