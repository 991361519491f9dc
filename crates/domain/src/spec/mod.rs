//! What a VM is to be. The same types are read from YAML and JSON and stored in the log, so a value that exists is valid;
//! rules between fields are checked when a VM is created.
//!
//! A field is said once: in its struct, by the `spec!` macro of `fields`. What `chv explain` shows and what a hypervisor is
//! refused for come from there.

mod attached;
mod boot;
mod choice;
mod cloud_init;
mod console;
mod cpu;
mod device_id;
mod disk;
mod field_path;
mod fields;
mod machine_type;
mod memory;
mod nic;
mod on_host_loss;
mod part;
mod queues;
mod rate_limit;
mod restart;
mod rng;
mod stop_timeout;
#[cfg(test)]
mod tests;
mod within;
mod zone;

use crate::host::HypervisorKind;
use device_id::twice;
use fields::{Rules, spec};
use part::{FULL, QEMU};

pub use attached::{PciSegment, Pmem, Share, Tag, TagError};
pub use boot::{Boot, Cmdline, CmdlineError, HostPath, HostPathError, MAX_CMDLINE};
pub use cloud_init::{CloudInit, CloudText, CloudTextError, SshKey, SshKeyError};
pub use console::{Console, Port};
pub use cpu::{
    Affinity, CpuFeature, CpuFeatureError, CpuLimit, CpuNumber, CpuSpec, CpuWeight, Level, Topology,
};
pub use device_id::{DeviceId, DeviceIdError};
pub use disk::{Disk, DiskFormat, DiskSerial, DiskSerialError};
pub use field_path::{FieldPath, FieldPathError};
pub use machine_type::MachineType;
pub use memory::{Balloon, Hotplug, HotplugMethod, HugePages, MemorySpec};
pub use nic::{IfName, IfNameError, MacAddress, MacError, Mtu, Nic, NicBackend, Offload, Offloads};
pub use on_host_loss::OnHostLoss;
pub use part::{Fault, Field, Lack, Part};
pub use queues::{QueueSize, QueueSizeError, Queues};
pub use rate_limit::{RateLimit, RefillTime, TokenBucket, Tokens};
pub use restart::{Restart, RestartPolicy, StartPriority, StartPriorityError};
pub use rng::RngSource;
pub use stop_timeout::{StopTimeout, StopTimeoutError};
pub use within::{OutOfBounds, Within};
pub use zone::{HostNode, MemoryZone};

spec! {
    /// The whole specification of a VM.
    pub struct VmSpec {
        required {
            /// Its processors.
            cpu: CpuSpec;
            /// Its memory.
            memory: MemorySpec;
            /// What it boots.
            boot: Boot;
        }
        optional {
            /// Its disks.
            disks: Vec<Disk> = "none";
            /// Its network cards.
            nics: Vec<Nic> = "none";
            /// The hypervisor that must run it.
            hypervisor: Option<HypervisorKind> = "the first that the host's check passed and that can do what the spec asks for";
            /// How long a stop waits for the guest after the power button before it is done the hard way.
            stop_timeout: StopTimeout = "30";
            /// What becomes of it when its host is lost: it stays and is started again there, or it runs under its
            /// host's lease and is placed elsewhere once that is over.
            on_host_loss: OnHostLoss = "stay";
            /// Whether and when it is started again after an end that nobody asked for.
            restart: Restart = "on-failure, without a limit";
            /// Where its host has many to start: those with the higher number are started first.
            start_priority: StartPriority = "0";
            /// Where its random numbers come from.
            rng: RngSource = "urandom", on(FULL);
            /// Whether it has a watchdog device: a guest that has opened it and then falls silent is reset.
            watchdog: bool = "false", on(FULL);
            /// What the guest is told at its first boot, on a disk of its own that its host makes.
            cloud_init: Option<CloudInit> = "no such disk";
            /// The kind of machine that QEMU makes.
            machine: Option<MachineType> = "q35 with QEMU", on(QEMU);
            /// Where its first serial port leads. Only where it leads to the log is the console's output kept, shown when the
            /// VM has ended, and a kernel's panic seen in it.
            serial: Port = "log";
            /// Where its virtio console, /dev/hvc0, leads.
            console: Console = "off", on(FULL);
            /// Whether it has a device by which its kernel tells that it panics.
            panic_device: bool = "false, but that QEMU has one always", on(FULL);
            /// Directories of the host's.
            shares: Vec<Share> = "none", on(FULL);
            /// Persistent memory.
            pmem: Vec<Pmem> = "none", on(FULL);
            /// The socket of a TPM's emulator, swtpm. Whoever runs it starts it before the VM, each time.
            tpm: Option<HostPath> = "no TPM", on(FULL);
        }
    }
}

impl VmSpec {
    /// A VM of which nothing is said but what must be.
    pub fn new(cpu: CpuSpec, memory: MemorySpec, boot: Boot) -> Self {
        Self {
            cpu,
            memory,
            boot,
            disks: Vec::new(),
            nics: Vec::new(),
            hypervisor: None,
            stop_timeout: StopTimeout::default(),
            on_host_loss: OnHostLoss::default(),
            restart: Restart::default(),
            start_priority: StartPriority::default(),
            rng: RngSource::default(),
            watchdog: false,
            cloud_init: None,
            machine: None,
            serial: Port::default(),
            console: Console::default(),
            panic_device: false,
            shares: Vec::new(),
            pmem: Vec::new(),
            tpm: None,
        }
    }
}

impl VmSpec {
    /// The fields in which `other` differs.
    pub fn differs_in(&self, other: &Self) -> Vec<FieldPath> {
        let paths = Part::differences(self, other);
        paths
            .into_iter()
            .filter_map(|path| path.try_into().ok())
            .collect()
    }

    /// What QEMU's microvm has not.
    fn no_microvm(&self) -> Option<Fault> {
        if self.machine != Some(MachineType::Microvm) {
            return None;
        }
        let dies = self
            .cpu
            .topology
            .as_ref()
            .map_or(1, |topology| topology.dies_per_package.get());
        let lacking = [
            ("boot.firmware", self.boot.firmware.is_some()),
            ("cpu.max", self.cpu.most() != self.cpu.vcpus),
            ("cpu.topology.diesPerPackage", dies > 1),
            ("memory.hotplug", self.memory.hotplug.is_some()),
            ("memory.zones", !self.memory.zones.is_empty()),
            ("pmem", !self.pmem.is_empty()),
            ("tpm", self.tpm.is_some()),
            ("disks", self.disks.iter().any(|disk| disk.iommu)),
            ("nics", self.nics.iter().any(|nic| nic.iommu)),
        ];
        let (field, _) = lacking.into_iter().find(|(_, asked)| *asked)?;
        Some(Fault::new(
            field,
            "is not there on a microvm; take it out, or the machine",
        ))
    }

    /// A port that can lead nowhere as it is asked to.
    fn no_such_port(&self) -> Option<Fault> {
        let ports = [("serial", &self.serial), ("console", &self.console.0)];
        let never = ports
            .into_iter()
            .find_map(|(field, port)| Some(Fault::new(field, port.never()?)));
        let log = (self.console.0 == Port::Log)
            .then(|| Fault::new("console", "log is where the serial port leads; use socket"));
        never.or(log)
    }

    /// What another process serves while the guest's memory is not to be shared with any.
    fn not_shared(&self) -> Option<Fault> {
        if self.memory.shared {
            return None;
        }
        let served = |disk: &Disk| disk.format == DiskFormat::VhostUser;
        let asked = [
            ("disks", self.disks.iter().position(served)),
            ("nics", self.nics.iter().position(Nic::is_vhost_user)),
            ("shares", (!self.shares.is_empty()).then_some(0)),
        ];
        let (list, index) = asked.into_iter().find_map(|(list, index)| Some((list, index?)))?;
        let why = "another process serves it, which must reach the guest's memory; set memory.shared";
        Some(Fault::new(&format!("{list}[{index}]"), why))
    }

    /// A tag that two shares have.
    fn tag_twice(&self) -> Option<Fault> {
        let mut tags = std::collections::BTreeSet::new();
        let index = self.shares.iter().position(|share| !tags.insert(&share.tag))?;
        Some(Fault::new(
            &format!("shares[{index}].tag"),
            "is another share's; each has one of its own",
        ))
    }

    /// A disk to boot from that is none of its disks.
    fn no_such_disk(&self) -> Option<Fault> {
        let known = |id: &DeviceId| self.disks.iter().any(|disk| disk.id == *id);
        self.boot.firmware.as_ref()?;
        let index = self.boot.order.iter().position(|id| !known(id))?;
        let why = format!("{} is none of the disks", self.boot.order[index]);
        Some(Fault::new(&format!("boot.order[{index}]"), why))
    }
}

impl Rules for VmSpec {
    fn broken(&self) -> Option<Fault> {
        let taken = |list: &str, twice: Option<(usize, &DeviceId)>| {
            let (index, id) = twice?;
            Some(Fault::new(
                &format!("{list}[{index}].id"),
                format!("{id} is another one's; each has an id of its own"),
            ))
        };
        let found = self
            .no_microvm()
            .or_else(|| self.no_such_disk())
            .or_else(|| self.no_such_port())
            .or_else(|| self.not_shared())
            .or_else(|| zone::fault(&self.memory.zones, self.cpu.most().get()));
        if found.is_some() {
            return found;
        }
        let seed = self.cloud_init.as_ref().map(|_| CloudInit::disk());
        if let Some(index) = self.disks.iter().position(|disk| Some(&disk.id) == seed.as_ref()) {
            let why = "cidata is the disk that cloudInit is on; give this one another id";
            return Some(Fault::new(&format!("disks[{index}].id"), why));
        }
        taken("disks", twice(self.disks.iter().map(|disk| &disk.id)))
            .or_else(|| taken("nics", twice(self.nics.iter().map(|nic| &nic.id))))
            .or_else(|| taken("pmem", twice(self.pmem.iter().map(|pmem| &pmem.id))))
            .or_else(|| self.tag_twice())
    }
}
