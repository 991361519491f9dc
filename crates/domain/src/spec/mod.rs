//! What a VM is to be. The same types are read from YAML and JSON and stored in the log, so a value that
//! exists is valid.

mod boot;
mod disk;
mod nic;
mod on_host_loss;
mod whole;

use serde::{Deserialize, Serialize};

use crate::host::HypervisorKind;
use crate::units::{Memory, Vcpus};
use whole::whole_where_stored;

pub use boot::{Boot, Cmdline, CmdlineError, HostPath, HostPathError, MAX_CMDLINE};
pub use disk::{Disk, DiskFormat};
pub use nic::{IfName, IfNameError, MacAddress, MacError, Nic, NicBackend};
pub use on_host_loss::OnHostLoss;

/// The whole specification of a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields, rename_all = "camelCase")]
pub struct VmSpec {
    /// Virtual CPUs, at least 1.
    pub vcpus: Vcpus,
    /// Memory, in whole MiB.
    pub memory: Memory,
    /// What it boots.
    pub boot: Boot,
    /// Its disk, when it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<Disk>,
    /// Its network card, when it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nic: Option<Nic>,
    /// The hypervisor that must run it. Left out, the host takes the first that its check passed and that
    /// can do what the spec asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hypervisor: Option<HypervisorKind>,
    /// How long a stop waits for the guest after the power button before it is done the hard way.
    #[serde(default)]
    pub stop_timeout: StopTimeout,
    /// What becomes of it when its host is lost; it stays when not given.
    #[serde(default, skip_serializing_if = "OnHostLoss::is_stay")]
    pub on_host_loss: OnHostLoss,
}

whole_where_stored!(VmSpec {
    vcpus,
    memory,
    boot,
    disk,
    nic,
    hypervisor,
    stop_timeout,
    on_host_loss,
});

/// Seconds that a graceful stop may take: 1 to 3,600, 30 when not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct StopTimeout(u32);

/// A stop timeout outside 1 to 3,600 seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stop timeout is 1 to 3600 seconds, not {0}; to stop at once, kill the VM")]
pub struct StopTimeoutError(u32);

impl StopTimeout {
    /// The timeout in seconds.
    pub const fn seconds(self) -> u32 {
        self.0
    }

    /// The timeout.
    pub const fn duration(self) -> std::time::Duration {
        std::time::Duration::from_secs(self.0 as u64)
    }
}

impl Default for StopTimeout {
    fn default() -> Self {
        Self(30)
    }
}

impl TryFrom<u32> for StopTimeout {
    type Error = StopTimeoutError;

    fn try_from(seconds: u32) -> Result<Self, StopTimeoutError> {
        match seconds {
            1..=3600 => Ok(Self(seconds)),
            _ => Err(StopTimeoutError(seconds)),
        }
    }
}

impl From<StopTimeout> for u32 {
    fn from(timeout: StopTimeout) -> u32 {
        timeout.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_reads_into_a_spec_and_back() {
        let text = "vcpus: 2\nmemory: 512MiB\nboot:\n  kernel: uos/vmlinuz\nnic:\n  backend: user\n";
        let spec: VmSpec = serde_saphyr::from_str(text).unwrap();
        assert_eq!(spec.memory.mib(), 512);
        let again: VmSpec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
        assert_eq!(again, spec);
        let stored: VmSpec = crate::stored::decode(&crate::stored::encode(&spec).unwrap()).unwrap();
        assert_eq!(stored, spec);
    }

    #[test]
    fn an_unknown_field_and_a_zero_are_refused() {
        for text in [
            "vcpus: 1\nmemory: 1GiB\nboot: {kernel: k}\ncpu: 2\n",
            "vcpus: 0\nmemory: 1GiB\nboot: {kernel: k}\n",
            "vcpus: 1\nmemory: 0MiB\nboot: {kernel: k}\n",
            "vcpus: 1\nmemory: 1GiB\nboot: {kernel: ../../etc/shadow}\n",
        ] {
            assert!(serde_saphyr::from_str::<VmSpec>(text).is_err(), "{text}");
        }
    }
}
