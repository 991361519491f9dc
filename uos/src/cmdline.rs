//! What the kernel command line asks of the guest: the words that start with `chv.`. Pure; all other words are the
//! kernel's and are passed over.
//!
//! ```text
//! chv.name=<DNS label>
//! chv.net=off | dhcp | static,addr=<address>/<prefix>[,gw=<address>]
//! ```

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use crate::cidr::{Cidr, CidrError};

/// What the guest was asked to be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// The guest's hostname, if it was given one.
    pub name: Option<Hostname>,
    /// How the first NIC gets its address.
    pub net: NetMode,
}

/// How the first NIC gets its address. A guest without a NIC has none, whatever is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NetMode {
    /// By DHCP: also when nothing is said.
    #[default]
    Dhcp,
    /// The NIC stays down.
    Off,
    /// The address given.
    Static(StaticNet),
}

/// An address and its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StaticNet {
    /// The NIC's address.
    pub address: Cidr,
    /// The default gateway, always inside the address's network.
    pub gateway: Option<Ipv4Addr>,
}

/// A DNS label: 1 to 63 of a-z, 0-9 and `-`, with no `-` at either end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hostname(String);

/// A word of the command line that can't be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CmdlineError {
    /// Not a DNS label.
    #[error("chv.name={0}: a name is 1 to 63 of a-z, 0-9 and `-`, with no `-` at either end; it is left out")]
    Name(String),
    /// Neither off, dhcp nor static.
    #[error(
        "chv.net={0}: say off, dhcp or static,addr=<address>/<prefix>[,gw=<address>]; the network stays off"
    )]
    NetMode(String),
    /// A part of a static address that is not known.
    #[error("chv.net=static: `{0}` is not addr=<address>/<prefix> or gw=<address>; the network stays off")]
    StaticPart(String),
    /// A static network without its address.
    #[error("chv.net=static needs addr=<address>/<prefix>; the network stays off")]
    NoAddress,
    /// A static address that isn't one.
    #[error("chv.net=static: {0}; the network stays off")]
    Address(CidrError),
    /// A gateway that can't be reached from the address.
    #[error("chv.net=static: gateway {gateway} is not in the network of {address}; the network stays off")]
    Gateway {
        /// The gateway asked for.
        gateway: Ipv4Addr,
        /// The address asked for.
        address: Cidr,
    },
    /// A `chv.` word that this guest doesn't know.
    #[error("{0}: unknown setting; known are chv.name and chv.net")]
    Unknown(String),
}

/// Reads a kernel command line. The last of two equal settings wins, as in the kernel itself. Whatever is wrong is
/// told, and the rest is followed.
pub fn parse(line: &str) -> (Settings, Vec<CmdlineError>) {
    let mut settings = Settings::default();
    let mut errors = Vec::new();
    for word in line
        .split_ascii_whitespace()
        .filter(|word| word.starts_with("chv."))
    {
        match word.split_once('=') {
            Some(("chv.name", name)) => match name.parse() {
                Ok(name) => settings.name = Some(name),
                Err(error) => errors.push(error),
            },
            Some(("chv.net", mode)) => {
                settings.net = mode.parse().unwrap_or_else(|error| {
                    errors.push(error);
                    NetMode::Off
                });
            }
            _ => errors.push(CmdlineError::Unknown(word.to_owned())),
        }
    }
    (settings, errors)
}

impl FromStr for NetMode {
    type Err = CmdlineError;

    fn from_str(text: &str) -> Result<Self, CmdlineError> {
        match text.split_once(',').unwrap_or((text, "")) {
            ("off", "") => Ok(Self::Off),
            ("dhcp", "") => Ok(Self::Dhcp),
            ("static", parts) => parts.parse().map(Self::Static),
            _ => Err(CmdlineError::NetMode(text.to_owned())),
        }
    }
}

impl FromStr for StaticNet {
    type Err = CmdlineError;

    fn from_str(text: &str) -> Result<Self, CmdlineError> {
        let mut address = None;
        let mut gateway = None;
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let unknown = || CmdlineError::StaticPart(part.to_owned());
            match part.split_once('=') {
                Some(("addr", value)) => address = Some(value.parse().map_err(CmdlineError::Address)?),
                Some(("gw", value)) => gateway = Some(value.parse().map_err(|_| unknown())?),
                _ => return Err(unknown()),
            }
        }
        let address: Cidr = address.ok_or(CmdlineError::NoAddress)?;
        match gateway {
            Some(gateway) if !address.contains(gateway) => Err(CmdlineError::Gateway { gateway, address }),
            _ => Ok(Self { address, gateway }),
        }
    }
}

impl fmt::Display for StaticNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "addr={}", self.address)?;
        self.gateway.map_or(Ok(()), |gateway| write!(f, ",gw={gateway}"))
    }
}

impl FromStr for Hostname {
    type Err = CmdlineError;

    fn from_str(text: &str) -> Result<Self, CmdlineError> {
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fits = (1..=63).contains(&text.len()) && text.bytes().all(letter);
        if fits && !text.starts_with('-') && !text.ends_with('-') {
            Ok(Self(text.to_owned()))
        } else {
            Err(CmdlineError::Name(text.to_owned()))
        }
    }
}

impl AsRef<str> for Hostname {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn errors(line: &str) -> Vec<CmdlineError> {
        parse(line).1
    }

    #[test]
    fn given_only_the_kernels_words_when_parsed_then_dhcp_is_meant() {
        let (settings, errors) = parse("console=ttyS0 quiet panic=-1 root=/dev/vda\n");
        assert_eq!(
            settings,
            Settings {
                name: None,
                net: NetMode::Dhcp
            }
        );
        assert_eq!(errors, []);
    }

    #[test]
    fn given_a_static_network_when_parsed_then_address_and_gateway_are_known() {
        let (settings, errors) = parse("quiet chv.name=hello chv.net=static,addr=10.0.2.15/24,gw=10.0.2.2");
        assert_eq!(errors, []);
        assert_eq!(settings.name.unwrap().as_ref(), "hello");
        let gateway = Some(Ipv4Addr::new(10, 0, 2, 2));
        assert_eq!(
            settings.net,
            NetMode::Static(StaticNet {
                address: "10.0.2.15/24".parse().unwrap(),
                gateway
            })
        );
    }

    #[test]
    fn given_a_setting_twice_when_parsed_then_the_last_wins() {
        assert_eq!(parse("chv.net=dhcp chv.net=off").0.net, NetMode::Off);
    }

    #[test]
    fn given_a_bad_network_when_parsed_then_it_says_why_and_stays_off() {
        for line in [
            "chv.net=",
            "chv.net=DHCP",
            "chv.net=dhcp,addr=10.0.0.1/8",
            "chv.net=static",
            "chv.net=static,gw=10.0.0.1",
            "chv.net=static,addr=10.0.0.1",
            "chv.net=static,addr=10.0.0.1/40",
            "chv.net=static,addr=10.0.0.1/24,gw=x",
            "chv.net=static,addr=10.0.0.1/24,gw=10.0.1.1",
            "chv.net=static,addr=10.0.0.1/24,dns=10.0.0.2",
        ] {
            let (settings, errors) = parse(line);
            assert_eq!(settings.net, NetMode::Off, "{line}");
            assert_eq!(errors.len(), 1, "{line}");
        }
    }

    #[test]
    fn given_a_bad_name_or_an_unknown_setting_when_parsed_then_the_rest_is_followed() {
        let (settings, errors) = parse("chv.name=Hello chv.nett=off chv.quiet chv.net=off");
        assert_eq!(
            settings,
            Settings {
                name: None,
                net: NetMode::Off
            }
        );
        assert_eq!(errors.len(), 3);
    }

    proptest! {
        #[test]
        fn given_any_line_when_parsed_then_it_never_panics(line in ".{0,200}") {
            let _ = parse(&line);
        }

        #[test]
        fn given_any_static_network_when_written_and_parsed_then_it_is_the_same(bits: u32, prefix in 0u8..=32, way_out: bool) {
            let address = Cidr::new(Ipv4Addr::from_bits(bits), prefix).unwrap();
            let net = StaticNet { address, gateway: way_out.then_some(address.address()) };
            let line = format!("ro chv.net=static,{net}");
            prop_assert_eq!(parse(&line), (Settings { name: None, net: NetMode::Static(net) }, vec![]));
        }

        #[test]
        fn given_any_dns_label_when_parsed_then_it_is_the_name(name in "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?") {
            let line = format!("chv.name={name}");
            prop_assert_eq!(errors(&line), vec![]);
            let settings = parse(&line).0;
            prop_assert_eq!(settings.name.as_ref().map(AsRef::as_ref), Some(name.as_str()));
        }
    }
}
