//! A VM's disk: an image file that is on the host already.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::HostPath;
use super::attached::PciSegment;
use super::choice::choice;
use super::device_id::DeviceId;
use super::fields::{Rules, spec};
use super::part::{CLOUD_HYPERVISOR, FULL, Fault, Lack, Part};
use super::queues::{QEMU_QUEUE, QueueSize, Queues};
use super::rate_limit::RateLimit;
use crate::host::HypervisorKind;

spec! {
    /// A disk backed by a file on the host. The guest finds them in the order in which they are given.
    pub struct Disk {
        required {
            /// Its name within the VM.
            id: DeviceId;
            /// The image file, or the socket of who serves it by vhost-user.
            path: HostPath;
            /// How the image is written. Always said, never guessed: guessing lets a guest forge a header.
            format: DiskFormat;
        }
        optional {
            /// Whether the guest may only read.
            read_only: bool = "false";
            /// Whether the host's page cache is left out.
            direct: bool = "false", on(FULL);
            /// How many queues it has.
            queues: Option<Queues> = "1", on(FULL);
            /// How many requests a queue holds.
            queue_size: Option<QueueSize> = "128 with cloud-hypervisor, 256 with QEMU", on(FULL);
            /// The serial number that the guest sees.
            serial: Option<DiskSerial> = "its id, and Firecracker's own choice", on(FULL);
            /// What it may do in a time.
            rate_limit: Option<RateLimit> = "no limit";
            /// The PCI segment that it is on.
            pci_segment: Option<PciSegment> = "the first", on(CLOUD_HYPERVISOR);
            /// Whether it is behind the guest's IOMMU.
            iommu: bool = "false", on(FULL);
        }
    }
}

choice! {
    /// The format of an image file.
    pub enum DiskFormat {
        /// The bytes of the disk, one for one.
        Raw = "raw",
        /// QEMU's copy-on-write format; backing files are not followed.
        Qcow2 = "qcow2",
        /// What another process on the host makes of it, which serves it by vhost-user.
        VhostUser = "vhost-user",
    }
}

impl Part for DiskFormat {
    fn values() -> String {
        "raw, qcow2 (backing files are not followed), or vhost-user: then the path is the socket of who serves it".to_owned()
    }

    fn lacks(&self, kind: HypervisorKind) -> Option<Lack> {
        let lacks = *self != Self::Raw && kind == HypervisorKind::Firecracker;
        lacks.then(|| Lack::new("", format!("{self} needs cloud-hypervisor or QEMU")))
    }
}

impl Rules for Disk {
    fn id(&self) -> Option<&DeviceId> {
        Some(&self.id)
    }

    fn broken(&self) -> Option<Fault> {
        if self.format != DiskFormat::VhostUser {
            return None;
        }
        let served = [
            ("readOnly", self.read_only),
            ("direct", self.direct),
            ("serial", self.serial.is_some()),
            ("rateLimit", self.rate_limit.is_some()),
        ];
        let (field, _) = served.into_iter().find(|(_, asked)| *asked)?;
        Some(Fault::new(
            field,
            "is for who serves a vhost-user disk to say; take it out",
        ))
    }

    fn lacking(&self, kind: HypervisorKind) -> Option<Lack> {
        let large = self.queue_size.is_some_and(|size| size.get() > QEMU_QUEUE);
        (kind.is_qemu() && large).then(|| Lack::new("queueSize", format!("is at most {QEMU_QUEUE} there")))
    }
}

impl Disk {
    /// A disk of which nothing is said but what must be.
    pub const fn new(id: DeviceId, path: HostPath, format: DiskFormat) -> Self {
        Self {
            id,
            path,
            format,
            read_only: false,
            direct: false,
            queues: None,
            queue_size: None,
            serial: None,
            rate_limit: None,
            pci_segment: None,
            iommu: false,
        }
    }

    /// The serial number that the guest sees.
    pub fn serial(&self) -> &str {
        self.serial.as_ref().map_or(self.id.as_str(), |serial| &serial.0)
    }
}

/// A disk's serial number: 1 to 20 letters, digits, `-`, `_` and `.`, as virtio has room for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DiskSerial(String);

/// A text that is no serial number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no disk's serial number: use 1 to 20 letters, digits, -, _ or .")]
pub struct DiskSerialError(String);

impl TryFrom<String> for DiskSerial {
    type Error = DiskSerialError;

    fn try_from(text: String) -> Result<Self, DiskSerialError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        match (1..=20).contains(&text.len()) && text.bytes().all(plain) {
            true => Ok(Self(text)),
            false => Err(DiskSerialError(text)),
        }
    }
}

impl From<DiskSerial> for String {
    fn from(serial: DiskSerial) -> String {
        serial.0
    }
}

impl fmt::Display for DiskSerial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Part for DiskSerial {
    fn values() -> String {
        "1 to 20 letters, digits, -, _ or .".to_owned()
    }
}
