//! A VM's disk: an image file that is on the host already.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::HostPath;

/// A disk backed by a file on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Disk {
    /// The image file.
    pub path: HostPath,
    /// How the image is written. Always said, never guessed: guessing lets a guest forge a header.
    pub format: DiskFormat,
    /// Whether the guest may only read.
    #[serde(default)]
    pub read_only: bool,
}

/// The format of an image file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskFormat {
    /// The bytes of the disk, one for one.
    Raw,
    /// QEMU's copy-on-write format; backing files are not followed.
    Qcow2,
}

impl fmt::Display for DiskFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        })
    }
}
