//! Where what a guest writes on its serial port and its console goes.

use serde::{Deserialize, Serialize};

use super::HostPath;
use super::part::{FULL, Lack, Part, either};
use crate::host::HypervisorKind;

/// Where a port of the guest leads. Not every port can lead everywhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Port {
    /// To the host's daemon: into the VM's log, and to whoever is at `chv vm console`.
    #[default]
    Log,
    /// Nowhere: there is no such device.
    Off,
    /// Nowhere: what is written is lost.
    Null,
    /// To who connects to a socket in the VM's own directory on its host.
    Socket,
    /// To the end of this file, which must be there. Nothing keeps it short.
    File(HostPath),
    /// To a pseudo terminal. A hypervisor behind its wall has none to give.
    Pty,
    /// To the hypervisor's terminal. It has none.
    Tty,
}

impl Port {
    /// Why it can lead there under no hypervisor here.
    pub(super) const fn never(&self) -> Option<&'static str> {
        match self {
            Self::Pty => Some("pty: a hypervisor behind its wall has no /dev/pts; use socket"),
            Self::Tty => Some("tty: a hypervisor has no terminal, nobody is its parent; use socket"),
            _ => None,
        }
    }

    /// What `kind` lacks for it.
    pub(super) fn lacking(&self, kind: HypervisorKind) -> Option<Lack> {
        let can = *self == Self::Log || FULL.contains(&kind);
        (!can).then(|| Lack::new("", format!("needs {}", either(FULL))))
    }

    /// The file that it leads to.
    pub const fn file(&self) -> Option<&HostPath> {
        match self {
            Self::File(path) => Some(path),
            _ => None,
        }
    }
}

impl Part for Port {
    fn values() -> String {
        "log (kept by the host, and shown by `chv vm console`), off, \"null\" (in quotes; what is written is lost), \
         socket (in the VM's directory on its host) or file: and a file of the host, which is appended to by QEMU and \
         emptied by cloud-hypervisor; pty and tty are refused, as there are none behind a hypervisor's wall"
            .to_owned()
    }

    fn lacks(&self, kind: HypervisorKind) -> Option<Lack> {
        self.lacking(kind)
    }
}

/// The virtio console, which most guests don't need: off when nothing is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Console(pub Port);

impl Default for Console {
    fn default() -> Self {
        Self(Port::Off)
    }
}

impl Part for Console {
    fn lacks(&self, kind: HypervisorKind) -> Option<Lack> {
        let lacks = self.0 == Port::Socket && !kind.is_qemu();
        lacks.then(|| Lack::new("", "is socket: that needs QEMU"))
    }

    fn values() -> String {
        "off, \"null\", file: and a file of the host, as with serial, or with QEMU socket".to_owned()
    }
}
