//! A VM's processors.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::fields::{ReadShort, Rules, spec};
use super::part::{FULL, Fault, KVM, Lack, Part};
use super::within::Within;
use crate::host::HypervisorKind;
use crate::units::Vcpus;

/// The number of one processor, of the guest's or of the host's, from 0.
pub type CpuNumber = Within<0, 8191>;

/// A share of the host's processors.
pub type CpuWeight = Within<1, 10_000>;

/// Hundredths of a processor.
pub type CpuLimit = Within<1, 819_200>;

/// How many there are of one level of a topology.
pub type Level = Within<1, 4096>;

spec! {
    /// A VM's processors. A number alone, as in `cpu: 2`, is that many vCPUs and nothing else.
    pub struct CpuSpec {
        required {
            /// How many vCPUs the guest boots with.
            vcpus: Vcpus;
        }
        optional {
            /// How many vCPUs it can be given while it runs.
            max: Option<Vcpus> = "as many as it boots with", on(FULL);
            /// How the guest sees them arranged. Their product is `max`, or `vcpus` without one.
            topology: Option<Topology> = "one package, one thread a core", on(FULL);
            /// Whether the guest may run VMs of its own.
            nested: Option<bool> = "what the hypervisor does by itself", on(FULL);
            /// Whether Windows is told that it runs on Hyper-V, which makes it faster.
            hyperv: bool = "false", on(KVM);
            /// Features that the guest's processors have beside, or lack of, what the hypervisor gives them.
            features: Vec<CpuFeature> = "none", on(FULL);
            /// The host's processors that a vCPU may run on.
            affinity: Vec<Affinity> = "any", on(FULL);
            /// Its share of the host's processors where they are scarce, beside other VMs'.
            weight: Option<CpuWeight> = "100";
            /// The most that it uses of the host's processors, in hundredths of one: 150 is one and a half.
            limit: Option<CpuLimit> = "no limit";
        }
    }
}

spec! {
    /// How processors are arranged.
    pub struct Topology {
        required {
            /// Threads of a core.
            threads_per_core: Level;
            /// Cores of a die.
            cores_per_die: Level;
            /// Dies of a package.
            dies_per_package: Level;
            /// Packages.
            packages: Level;
        }
    }
}

spec! {
    /// Where a vCPU may run.
    pub struct Affinity {
        required {
            /// The vCPU, from 0.
            vcpu: CpuNumber;
            /// The host's processors, from 0.
            host_cpus: Vec<CpuNumber>;
        }
    }
}

impl CpuSpec {
    /// So many vCPUs, and nothing else.
    pub const fn of(vcpus: Vcpus) -> Self {
        Self {
            vcpus,
            max: None,
            topology: None,
            nested: None,
            hyperv: false,
            features: Vec::new(),
            affinity: Vec::new(),
            weight: None,
            limit: None,
        }
    }

    /// The most vCPUs that it can have.
    pub fn most(&self) -> Vcpus {
        self.max.unwrap_or(self.vcpus)
    }
}

/// As many vCPUs as Firecracker gives a VM.
const FIRECRACKER_VCPUS: u32 = 32;

impl Rules for CpuSpec {
    fn lacking(&self, kind: HypervisorKind) -> Option<Lack> {
        let many = kind == HypervisorKind::Firecracker && self.vcpus.get() > FIRECRACKER_VCPUS;
        many.then(|| Lack::new("vcpus", format!("is at most {FIRECRACKER_VCPUS} there")))
    }

    const SHORT: Option<ReadShort<Self>> = Some(|text| {
        let vcpus = text.parse().map_err(|_| {
            format!("{text:?} is no number of vCPUs: write a whole number from 1, or fields such as {{vcpus: 2, max: 4}}")
        })?;
        Vcpus::new(vcpus).map(Self::of).map_err(|error| error.to_string())
    });

    fn broken(&self) -> Option<Fault> {
        let most = self.most();
        if most < self.vcpus {
            let why = format!("{most} is fewer than the {} that it boots with", self.vcpus);
            return Some(Fault::new("max", why));
        }
        if let Some(topology) = &self.topology
            && topology.product() != u64::from(most.get())
        {
            let why = format!(
                "{} threads, cores, dies and packages multiplied are not the {most} vCPUs that there may be",
                topology.product()
            );
            return Some(Fault::new("topology", why));
        }
        let mut seen = std::collections::BTreeSet::new();
        self.affinity.iter().enumerate().find_map(|(index, affinity)| {
            let fault = |why: &str| Some(Fault::new(&format!("affinity[{index}]"), why));
            match () {
                () if affinity.vcpu.get() >= u64::from(most.get()) => {
                    fault("there is no such vCPU; they count from 0")
                }
                () if affinity.host_cpus.is_empty() => fault("name at least one of the host's processors"),
                () if !seen.insert(affinity.vcpu) => fault("this vCPU was named before"),
                () => None,
            }
        })
    }
}

impl Rules for Topology {
    fn lacking(&self, kind: HypervisorKind) -> Option<Lack> {
        let threads = self.threads_per_core.get() > 1;
        (kind == HypervisorKind::QemuTcg && threads).then(|| Lack::new("threadsPerCore", "is 1 there"))
    }
}

impl Topology {
    fn product(&self) -> u64 {
        [
            self.threads_per_core,
            self.cores_per_die,
            self.dies_per_package,
            self.packages,
        ]
        .into_iter()
        .fold(1, |product, level| product.saturating_mul(level.get()))
    }
}

impl Rules for Affinity {}

/// A processor's feature, switched on or off: `+avx2`, `-svm`. Named as QEMU names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CpuFeature(String);

/// A text that is no feature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no processor feature: write + or - and its name, such as +avx2 or -svm")]
pub struct CpuFeatureError(String);

impl CpuFeature {
    /// The feature's name.
    pub fn name(&self) -> &str {
        &self.0[1..]
    }

    /// Whether it is switched on.
    pub fn on(&self) -> bool {
        self.0.starts_with('+')
    }

    /// The feature as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CpuFeature {
    type Err = CpuFeatureError;

    fn from_str(text: &str) -> Result<Self, CpuFeatureError> {
        let name = text.strip_prefix(['+', '-']).unwrap_or_default();
        let plain = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.')
        };
        match (1..=32).contains(&name.len()) && name.bytes().all(plain) {
            true => Ok(Self(text.to_owned())),
            false => Err(CpuFeatureError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for CpuFeature {
    type Error = CpuFeatureError;

    fn try_from(text: String) -> Result<Self, CpuFeatureError> {
        text.parse()
    }
}

impl From<CpuFeature> for String {
    fn from(feature: CpuFeature) -> String {
        feature.0
    }
}

impl fmt::Display for CpuFeature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Part for CpuFeature {
    fn values() -> String {
        "+ or - and a feature's name, such as +avx2 or -svm".to_owned()
    }

    fn lacks(&self, kind: HypervisorKind) -> Option<Lack> {
        match kind {
            HypervisorKind::CloudHypervisor if self.as_str() != "+amx" => Some(Lack::new(
                "",
                format!("is {self}: only +amx can be asked for there"),
            )),
            _ => None,
        }
    }
}
