//! What a VM boots: a kernel, directly, or firmware, which boots from a disk; and paths on the host.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smol_str::SmolStr;

use super::device_id::{DeviceId, twice};
use super::fields::{Rules, spec};
use super::part::{FULL, Fault, QEMU};
use crate::text::Parse;

/// The longest command line that x86 Linux takes, in bytes, without the final zero.
pub const MAX_CMDLINE: usize = 2047;

spec! {
    /// What a VM boots: a kernel, directly, or firmware, which boots from one of its disks.
    #[derive(Default)]
    pub struct Boot {
        optional {
            /// The kernel image. It or firmware must be given, and not both.
            kernel: Option<HostPath> = "none";
            /// The initial RAM file system, for the kernel.
            initramfs: Option<HostPath> = "none";
            /// The kernel's command line. The host puts its console argument before it.
            cmdline: Cmdline = "none";
            /// The firmware's image, UEFI most often, with its code in it and a store for its variables. It boots from a
            /// disk. What it stores is not kept when the VM ends.
            firmware: Option<HostPath> = "none", on(FULL);
            /// The ids of the disks that the firmware may boot from, the first one first.
            order: Vec<DeviceId> = "with QEMU all, in the order in which they are given; otherwise as the firmware does it", on(QEMU);
        }
    }
}

impl Rules for Boot {
    fn broken(&self) -> Option<Fault> {
        let fault = |field: &str, why: &str| Some(Fault::new(field, why));
        match (&self.kernel, &self.firmware) {
            (None, None) => fault(
                "",
                "says nothing to boot; give a kernel, or firmware that boots from a disk",
            ),
            (Some(_), Some(_)) => fault(
                "firmware",
                "boots from a disk, and a kernel is booted without it; take one of the two out",
            ),
            (Some(_), None) if !self.order.is_empty() => {
                fault("order", "is for firmware; a kernel is booted directly")
            }
            (None, Some(_)) if self.initramfs.is_some() => fault(
                "initramfs",
                "goes with a kernel; what firmware boots has its own on its disk",
            ),
            (None, Some(_)) if !self.cmdline.is_empty() => fault(
                "cmdline",
                "goes with a kernel; what firmware boots has its own on its disk",
            ),
            _ => {
                let (index, id) = twice(self.order.iter())?;
                fault(&format!("order[{index}]"), &format!("{id} was named before"))
            }
        }
    }
}

impl Boot {
    /// A kernel, and nothing else.
    pub fn kernel(kernel: HostPath) -> Self {
        Self {
            kernel: Some(kernel),
            ..Self::default()
        }
    }
}

/// A file on the host: absolute, or relative to the host's image directory. It never climbs out by `..`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPath(SmolStr);

/// Why a text is no path for a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostPathError {
    /// Nothing there.
    #[error("a path can't be empty")]
    Empty,
    /// Longer than Linux takes.
    #[error("a path has at most 4095 bytes, this one has {0}")]
    TooLong(usize),
    /// Control characters.
    #[error("the path {0:?} has a control character in it")]
    Control(String),
    /// Climbing out.
    #[error("the path {0:?} has `..` in it; name the file directly")]
    Parent(String),
}

impl HostPath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for HostPath {
    type Err = HostPathError;

    fn from_str(text: &str) -> Result<Self, HostPathError> {
        match () {
            () if text.is_empty() => Err(HostPathError::Empty),
            () if text.len() > 4095 => Err(HostPathError::TooLong(text.len())),
            () if text.chars().any(char::is_control) => Err(HostPathError::Control(text.to_owned())),
            () if text.split('/').any(|part| part == "..") => Err(HostPathError::Parent(text.to_owned())),
            () => Ok(Self(text.into())),
        }
    }
}

impl TryFrom<String> for HostPath {
    type Error = HostPathError;

    fn try_from(text: String) -> Result<Self, HostPathError> {
        text.parse()
    }
}

impl Serialize for HostPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for HostPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Parse::new("a path on the host"))
    }
}

/// A kernel command line: printable ASCII, at most [`MAX_CMDLINE`] bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cmdline(String);

/// Why a text is no kernel command line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CmdlineError {
    /// Longer than the kernel takes.
    #[error("a kernel command line has at most {MAX_CMDLINE} bytes, this one has {0}")]
    TooLong(usize),
    /// Something else than printable ASCII.
    #[error("a kernel command line is printable ASCII; {0:?} is not")]
    Character(char),
}

impl Cmdline {
    /// The command line as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether nothing is on it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<String> for Cmdline {
    type Error = CmdlineError;

    fn try_from(text: String) -> Result<Self, CmdlineError> {
        if text.len() > MAX_CMDLINE {
            return Err(CmdlineError::TooLong(text.len()));
        }
        // Of bytes: every replica reads every command line, and a character is looked for only to be named.
        // All of them, which goes several at a time where stopping at the first odd one would not.
        if text
            .bytes()
            .fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~'))
        {
            return Ok(Self(text));
        }
        let odd = text.chars().find(|c| !matches!(c, ' '..='~'));
        Err(CmdlineError::Character(odd.unwrap_or_default()))
    }
}

impl From<Cmdline> for String {
    fn from(cmdline: Cmdline) -> String {
        cmdline.0
    }
}
