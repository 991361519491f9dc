//! What else a VM is given of its host: directories and persistent memory.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::HostPath;
use super::device_id::DeviceId;
use super::fields::{Rules, spec};
use super::part::{CLOUD_HYPERVISOR, Fault, Part};
use super::queues::QueueSize;
use super::within::Within;
use crate::units::Memory;

/// The number of a PCI segment. What is not given is on the first, 0.
pub type PciSegment = Within<1, 15>;

spec! {
    /// A directory of the host's that the guest mounts by virtio-fs. Whoever runs its virtiofsd says which, and starts it
    /// before the VM.
    pub struct Share {
        required {
            /// What the guest mounts it by.
            tag: Tag;
            /// The socket of its virtiofsd.
            socket: HostPath;
        }
        optional {
            /// How many requests its queue holds.
            queue_size: Option<QueueSize> = "1024 with cloud-hypervisor, 128 with QEMU";
            /// The PCI segment that it is on.
            pci_segment: Option<PciSegment> = "the first", on(CLOUD_HYPERVISOR);
        }
    }
}

spec! {
    /// A file of the host's that is memory of the guest's, and stays when it ends.
    pub struct Pmem {
        required {
            /// Its name within the VM.
            id: DeviceId;
            /// The file.
            path: HostPath;
            /// How much of it there is: as much as the file has, a multiple of 2MiB.
            size: Memory;
        }
        optional {
            /// Whether what the guest writes is gone when it ends.
            discard_writes: bool = "false";
            /// The PCI segment that it is on.
            pci_segment: Option<PciSegment> = "the first", on(CLOUD_HYPERVISOR);
        }
    }
}

impl Rules for Share {}

impl Rules for Pmem {
    fn id(&self) -> Option<&DeviceId> {
        Some(&self.id)
    }

    fn broken(&self) -> Option<Fault> {
        let odd = !self.size.mib().is_multiple_of(2);
        odd.then(|| Fault::new("size", format!("{} is no multiple of 2MiB", self.size)))
    }
}

/// Defines a text that is checked when it is read.
macro_rules! checked {
    ($(#[doc = $about:literal])+ $name:ident, $error:ident: $wrong:literal, $values:literal, $check:expr) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        #[doc = concat!("A text that is ", $wrong, ".")]
        #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
        #[error("{_0:?} is {wrong}: write {values}", wrong = $wrong, values = $values)]
        pub struct $error(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, $error> {
                let check: fn(&str) -> bool = $check;
                match check(text) {
                    true => Ok(Self(text.to_owned())),
                    false => Err($error(text.to_owned())),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, $error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> String {
                text.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl Part for $name {
            fn values() -> String {
                $values.to_owned()
            }
        }
    };
}

checked!(
    /// What a guest mounts a share by.
    Tag, TagError: "no tag of a share", "1 to 36 letters, digits, -, _ or .",
    |text| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        (1..=36).contains(&text.len()) && text.bytes().all(plain)
    }
);
