//! An IPv4 address with its prefix length, as `10.0.2.15/24`. Knows nothing of interfaces.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An address of an interface and the size of the network that it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Cidr {
    address: Ipv4Addr,
    prefix: u8,
}

/// Why a text is no address with a prefix length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// There is no `/`, or what is before it is no IPv4 address, or what is after it no number.
    #[error("`{0}` is not an IPv4 address with a prefix length; write it like 10.0.2.15/24")]
    Form(String),
    /// The prefix is longer than an address.
    #[error("prefix length {0} is more than 32")]
    Prefix(u8),
    /// A netmask whose set bits are not the leading ones.
    #[error("{0} is not a netmask")]
    Netmask(Ipv4Addr),
}

impl Cidr {
    /// An address in a network of `prefix` leading bits, at most 32.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Result<Self, CidrError> {
        if prefix > 32 {
            return Err(CidrError::Prefix(prefix));
        }
        Ok(Self { address, prefix })
    }

    /// An address in a network whose size is given as a netmask.
    pub fn with_netmask(address: Ipv4Addr, netmask: Ipv4Addr) -> Result<Self, CidrError> {
        let bits = netmask.to_bits();
        if bits.leading_ones() + bits.trailing_zeros() < 32 {
            return Err(CidrError::Netmask(netmask));
        }
        Self::new(address, bits.count_ones() as u8)
    }

    /// The address alone.
    pub fn address(self) -> Ipv4Addr {
        self.address
    }

    /// The network's size as a netmask.
    pub fn netmask(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0))
    }

    /// Whether `other` is in this address's network.
    pub fn contains(self, other: Ipv4Addr) -> bool {
        let mask = self.netmask().to_bits();
        self.address.to_bits() & mask == other.to_bits() & mask
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let form = || CidrError::Form(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(form)?;
        Self::new(
            address.parse().map_err(|_| form())?,
            prefix.parse().map_err(|_| form())?,
        )
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> Self {
        cidr.to_string()
    }
}

impl TryFrom<String> for Cidr {
    type Error = CidrError;

    fn try_from(text: String) -> Result<Self, CidrError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn given_any_address_when_written_and_read_then_it_is_the_same(bits: u32, prefix in 0u8..=32) {
            let cidr = Cidr::new(Ipv4Addr::from_bits(bits), prefix).unwrap();
            prop_assert_eq!(cidr.to_string().parse::<Cidr>().unwrap(), cidr);
            prop_assert_eq!(Cidr::with_netmask(cidr.address(), cidr.netmask()).unwrap(), cidr);
            prop_assert!(cidr.contains(cidr.address()));
        }

        #[test]
        fn given_any_text_when_read_then_it_never_panics(text in ".{0,40}") {
            let _ = text.parse::<Cidr>();
        }
    }

    #[test]
    fn given_a_bad_prefix_or_netmask_when_read_then_it_is_refused() {
        assert_eq!("10.0.0.1/33".parse::<Cidr>(), Err(CidrError::Prefix(33)));
        assert!(matches!("10.0.0.1".parse::<Cidr>(), Err(CidrError::Form(_))));
        let holed = Ipv4Addr::new(255, 0, 255, 0);
        assert_eq!(
            Cidr::with_netmask(Ipv4Addr::LOCALHOST, holed),
            Err(CidrError::Netmask(holed))
        );
    }

    #[test]
    fn given_a_network_when_asked_then_it_contains_only_its_own() {
        let cidr: Cidr = "10.0.2.15/24".parse().unwrap();
        assert!(cidr.contains(Ipv4Addr::new(10, 0, 2, 2)));
        assert!(!cidr.contains(Ipv4Addr::new(10, 0, 3, 2)));
    }
}
