//! A host: what it offers, what is reserved on it, and which hypervisors were seen to run guests there.

use std::fmt;
use std::str::FromStr;

use imbl::OrdSet;
use serde::{Deserialize, Serialize};

use crate::ids::{HostId, VmId};
use crate::name::HostName;
use crate::seq::Seq;
use crate::spec::{Part, VmSpec};
use crate::time::Timestamp;

/// An amount of what VMs use up on a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capacity {
    /// Virtual CPUs. What a host offers already has its over-commit in it.
    pub vcpus: u32,
    /// Memory, in MiB.
    pub memory_mib: u64,
}

impl Capacity {
    /// What a VM of this spec reserves.
    pub fn of(spec: &VmSpec) -> Self {
        Self {
            vcpus: spec.cpu.vcpus.get(),
            memory_mib: u64::from(spec.memory.size.mib()),
        }
    }

    /// The sum; saturates.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            vcpus: self.vcpus.saturating_add(other.vcpus),
            memory_mib: self.memory_mib.saturating_add(other.memory_mib),
        }
    }

    /// The larger of both, of each kind.
    #[must_use]
    pub fn most(self, other: Self) -> Self {
        Self {
            vcpus: self.vcpus.max(other.vcpus),
            memory_mib: self.memory_mib.max(other.memory_mib),
        }
    }

    /// What is left after `other`; zero where nothing is.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self {
            vcpus: self.vcpus.saturating_sub(other.vcpus),
            memory_mib: self.memory_mib.saturating_sub(other.memory_mib),
        }
    }
}

/// A program that runs VMs, with the accelerator that makes it another thing to a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HypervisorKind {
    /// cloud-hypervisor, over KVM.
    CloudHypervisor,
    /// QEMU, over KVM.
    QemuKvm,
    /// QEMU emulating the processor: slow, and everywhere.
    QemuTcg,
    /// Firecracker, over KVM: little to start and little to attack, and it has least.
    Firecracker,
}

impl HypervisorKind {
    /// Every kind, the preferred first. Firecracker comes after those that see a guest power itself off, and before
    /// one that emulates the processor.
    pub const ALL: [Self; 4] = [
        Self::CloudHypervisor,
        Self::QemuKvm,
        Self::Firecracker,
        Self::QemuTcg,
    ];

    /// The kind's name in manifests and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CloudHypervisor => "cloud-hypervisor",
            Self::QemuKvm => "qemu-kvm",
            Self::QemuTcg => "qemu-tcg",
            Self::Firecracker => "firecracker",
        }
    }
}

impl HypervisorKind {
    /// Whether it is QEMU, whatever runs the guest's instructions.
    pub const fn is_qemu(self) -> bool {
        matches!(self, Self::QemuKvm | Self::QemuTcg)
    }
}

impl fmt::Display for HypervisorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for HypervisorKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| {
                format!(
                    "{text:?} is not a hypervisor: use cloud-hypervisor, qemu-kvm, firecracker or qemu-tcg"
                )
            })
    }
}

/// A hypervisor that booted the host's probe guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HypervisorFacts {
    /// Which one.
    pub kind: HypervisorKind,
    /// Its own version text.
    pub version: String,
}

/// What a host daemon found out about its machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostFacts {
    /// What it offers to VMs.
    pub capacity: Capacity,
    /// The hypervisors that ran a guest there, the preferred first.
    pub hypervisors: Vec<HypervisorFacts>,
    /// The daemon's version.
    pub daemon: String,
    /// What it can't put between VMs, and why: users, namespaces, limits.
    pub missing: Vec<String>,
}

impl HostFacts {
    /// The hypervisor that runs `spec` on this host, or why none does.
    pub fn choose(&self, spec: &VmSpec) -> Result<HypervisorKind, String> {
        let offered = || self.hypervisors.iter().map(|facts| facts.kind);
        if let Some(asked) = spec.hypervisor {
            return match (offered().any(|kind| kind == asked), spec.lacks(asked)) {
                (false, _) => Err(format!("{asked} runs no guests there")),
                (true, Some(lack)) => Err(format!("{asked} can't: {lack}")),
                (true, None) => Ok(asked),
            };
        }
        let mut lacks = Vec::new();
        for kind in offered() {
            match spec.lacks(kind) {
                None => return Ok(kind),
                Some(lack) => lacks.push(format!("{kind} can't: {lack}")),
            }
        }
        Err(if lacks.is_empty() {
            "no hypervisor runs guests there".to_owned()
        } else {
            lacks.join("; ")
        })
    }
}

/// A host as the log knows it. Whether it is alive is not in the log: heartbeats never are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Its id.
    pub id: HostId,
    /// Its name.
    pub name: HostName,
    /// What its daemon found out.
    pub facts: HostFacts,
    /// Whether new VMs are kept away.
    pub cordoned: bool,
    /// What the VMs placed on it reserve.
    pub reserved: Capacity,
    /// The VMs placed on it.
    pub vms: OrdSet<VmId>,
    /// When it was first registered.
    pub registered: Timestamp,
    /// The last event that an operator's command or a registration made of it.
    pub revision: Seq,
    /// The last event that changed what the host should run. Its feed's messages are chained by this.
    pub feed: Seq,
}

impl Host {
    /// What is left for new VMs.
    pub const fn free(&self) -> Capacity {
        self.facts.capacity.minus(self.reserved)
    }
}
