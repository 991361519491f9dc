//! A VM's network card.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::whole::whole_where_stored;
use crate::hash::RecordHash;
use crate::ids::VmId;

/// A network card and what it is plugged into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields, rename_all = "camelCase")]
pub struct Nic {
    /// What the card is plugged into.
    pub backend: NicBackend,
    /// Its hardware address; made from the VM's id when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddress>,
}

whole_where_stored!(Nic { backend, mac });

/// What a card is plugged into on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NicBackend {
    /// QEMU's own network: the guest reaches out through the host, nothing reaches in. Needs no rights.
    User,
    /// A TAP device of this name, which is on the host already.
    Tap(IfName),
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
    /// The address that `vm` has when its spec names none: locally administered, the same every time.
    pub fn of(vm: VmId) -> Self {
        let digest = RecordHash::of(&vm.to_bytes()).0;
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
