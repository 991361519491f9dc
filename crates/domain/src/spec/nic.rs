//! A VM's network card.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::HostPath;
use super::attached::PciSegment;
use super::device_id::DeviceId;
use super::fields::{Rules, spec};
use super::part::{CLOUD_HYPERVISOR, FULL, Fault, LIMITING, Lack, Part};
use super::queues::{QEMU_QUEUE, QueueSize, Queues};
use super::rate_limit::RateLimit;
use super::within::Within;
use crate::hash::RecordHash;
use crate::host::HypervisorKind;
use crate::ids::VmId;

/// The fewest packets that a queue of QEMU's holds.
const QEMU_NIC_QUEUE: u32 = 256;

/// The largest packet without its header, in bytes.
pub type Mtu = Within<68, 65_521>;

spec! {
    /// A network card and what it is plugged into.
    pub struct Nic {
        required {
            /// Its name within the VM.
            id: DeviceId;
            /// What the card is plugged into.
            backend: NicBackend;
        }
        optional {
            /// Its hardware address.
            mac: Option<MacAddress> = "made from the VM's id and the card's";
            /// The hardware address of the host's end.
            host_mac: Option<MacAddress> = "the host's choice", on(CLOUD_HYPERVISOR);
            /// The largest packet that the guest is told of, in bytes.
            mtu: Option<Mtu> = "1500", on(FULL);
            /// How many pairs of queues it has. A TAP device must have been made for several.
            queues: Option<Queues> = "1", on(FULL);
            /// How many packets a queue holds.
            queue_size: Option<QueueSize> = "256", on(FULL);
            /// What the guest may leave to the host.
            offloads: Offloads = "all", on(FULL);
            /// What it may do in a time.
            rate_limit: Option<RateLimit> = "no limit", on(LIMITING);
            /// The PCI segment that it is on.
            pci_segment: Option<PciSegment> = "the first", on(CLOUD_HYPERVISOR);
            /// Whether it is behind the guest's IOMMU.
            iommu: bool = "false", on(FULL);
        }
    }
}

spec! {
    /// What a guest may leave to the host to do with its packets.
    #[derive(Default)]
    pub struct Offloads {
        optional {
            /// To cut large TCP packets up.
            tso: Offload = "true";
            /// To cut large UDP packets up.
            ufo: Offload = "true";
            /// To make and check checksums.
            checksum: Offload = "true";
        }
    }
}

/// Something that a guest may leave to the host; it may when nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offload(bool);

impl Offload {
    /// Whether it may.
    pub const fn is_on(self) -> bool {
        self.0
    }
}

impl From<bool> for Offload {
    fn from(on: bool) -> Self {
        Self(on)
    }
}

impl Default for Offload {
    fn default() -> Self {
        Self(true)
    }
}

impl Part for Offload {
    fn values() -> String {
        bool::values()
    }
}

impl Rules for Nic {
    fn id(&self) -> Option<&DeviceId> {
        Some(&self.id)
    }

    fn broken(&self) -> Option<Fault> {
        let tap = matches!(self.backend, NicBackend::Tap(_));
        if self.host_mac.is_some() && !tap {
            return Some(Fault::new(
                "hostMac",
                "is of a TAP device; the card is plugged into none",
            ));
        }
        if self.is_vhost_user() && self.rate_limit.is_some() {
            return Some(Fault::new("rateLimit", "is for the switch to keep; take it out"));
        }
        let several = self.queues.is_some_and(|queues| queues.get() > 1);
        (several && self.backend == NicBackend::User).then(|| {
            Fault::new(
                "queues",
                "QEMU's user network has one queue; plug the card into a TAP device for several",
            )
        })
    }

    fn lacking(&self, kind: HypervisorKind) -> Option<Lack> {
        let least = QEMU_NIC_QUEUE;
        let odd = self
            .queue_size
            .is_some_and(|size| !(least..=QEMU_QUEUE).contains(&size.get()));
        (kind.is_qemu() && odd).then(|| Lack::new("queueSize", format!("is {least} to {QEMU_QUEUE} there")))
    }
}

impl Rules for Offloads {}

impl Nic {
    /// Whether another process on the host carries its packets.
    pub const fn is_vhost_user(&self) -> bool {
        matches!(
            self.backend,
            NicBackend::VhostUser(_) | NicBackend::VhostUserServer
        )
    }

    /// A card of which nothing is said but what must be.
    pub fn new(id: DeviceId, backend: NicBackend) -> Self {
        Self {
            id,
            backend,
            mac: None,
            host_mac: None,
            mtu: None,
            queues: None,
            queue_size: None,
            offloads: Offloads::default(),
            rate_limit: None,
            pci_segment: None,
            iommu: false,
        }
    }
}

/// What a card is plugged into on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NicBackend {
    /// QEMU's own network: the guest reaches out through the host, nothing reaches in. Needs no rights.
    User,
    /// A TAP device of this name, which is on the host already.
    Tap(IfName),
    /// The socket of a switch that speaks vhost-user.
    #[serde(rename = "vhostUser")]
    VhostUser(HostPath),
    /// A switch that speaks vhost-user and connects to a socket in the VM's own directory.
    #[serde(rename = "vhostUserServer")]
    VhostUserServer,
}

impl Part for NicBackend {
    fn values() -> String {
        "user (QEMU's own network); tap: and the name of a TAP device on the host; vhostUser: and the socket of a switch; or vhostUserServer, where the switch connects to \
         nic-<id>.sock in the VM's own directory"
            .to_owned()
    }

    fn lacks(&self, kind: HypervisorKind) -> Option<Lack> {
        match (self, kind) {
            (Self::User, HypervisorKind::CloudHypervisor | HypervisorKind::Firecracker) => {
                Some(Lack::new("user", "needs QEMU"))
            }
            (Self::VhostUser(_), HypervisorKind::Firecracker) => {
                Some(Lack::new("vhostUser", "needs cloud-hypervisor or QEMU"))
            }
            (Self::VhostUserServer, HypervisorKind::Firecracker) => {
                Some(Lack::new("vhostUserServer", "needs cloud-hypervisor or QEMU"))
            }
            _ => None,
        }
    }
}

impl Part for MacAddress {
    fn values() -> String {
        "six bytes such as 52:54:00:12:34:56, the first one even".to_owned()
    }
}

/// A Linux interface name: 1 to 15 of letters, digits, `-`, `_` and `.`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IfName(String);

/// A text that is no interface name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an interface name: use 1 to 15 letters, digits, -, _ or .")]
pub struct IfNameError(String);

impl IfName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for IfName {
    type Error = IfNameError;

    fn try_from(text: String) -> Result<Self, IfNameError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let dots = text == "." || text == "..";
        if text.is_empty() || text.len() > 15 || dots || !text.bytes().all(allowed) {
            return Err(IfNameError(text));
        }
        Ok(Self(text))
    }
}

impl From<IfName> for String {
    fn from(name: IfName) -> String {
        name.0
    }
}

/// A unicast hardware address, written `52:54:00:12:34:56`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress([u8; 6]);

/// A text that is no unicast hardware address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a MAC address for a VM: write six hex bytes such as 52:54:00:12:34:56, the first one even"
)]
pub struct MacError(String);

impl MacAddress {
    /// The address that a card of `vm` has when its spec names none: the same every time.
    pub fn of(vm: VmId, nic: &DeviceId) -> Self {
        let digest = RecordHash::of(&[&vm.to_bytes(), nic.as_str().as_bytes()].concat()).0;
        Self([0x52, 0x54, 0x00, digest[0], digest[1], digest[2]])
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddress {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let error = || MacError(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(error)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| error())?;
        }
        let multicast = bytes[0] & 1 == 1;
        if parts.next().is_some() || multicast || bytes == [0; 6] {
            return Err(error());
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for MacAddress {
    type Error = MacError;

    fn try_from(text: String) -> Result<Self, MacError> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> String {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_mac_reads_back(bytes: [u8; 6]) {
            let mac = MacAddress(bytes);
            let valid = bytes[0] & 1 == 0 && bytes != [0; 6];
            prop_assert_eq!(mac.to_string().parse::<MacAddress>().is_ok(), valid);
        }

        #[test]
        fn junk_is_refused_without_a_panic(text in ".{0,24}") {
            let _ = text.parse::<MacAddress>();
            let _ = IfName::try_from(text);
        }
    }
}
