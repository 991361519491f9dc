//! The lines between a guest and its host, in both directions: text, one message a line. Pure; how the bytes travel
//! (a virtio-serial port or vsock) is the caller's.
//!
//! ```text
//! guest → host   ready {"version":"0.1.0","kernel":"6.1.0","boot":"9a0c…","uptime_ms":812,"addresses":["10.0.2.15/24"]}
//! host → guest   status              the guest answers with `ready`
//! host → guest   poweroff            the guest answers with `bye`
//! guest → host   bye
//! guest → host   error unknown message `dance`
//! ```
//!
//! The guest says `ready` when it comes up, when it sees a host open the channel, and when its addresses change; the
//! last one is the truth. It may miss a host that goes and comes back at once, so a host that finds a running guest
//! says `status`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::cidr::Cidr;

/// The virtio-serial port that the channel is on, when there is one.
pub const PORT_NAME: &str = "org.chronovisor.agent.0";

/// The port on the host (context id 2) that the guest connects to over vsock, when there is no virtio-serial port.
pub const VSOCK_PORT: u32 = 1024;

/// The longest line that either side takes, in bytes without its end.
pub const MAX_LINE: usize = 4096;

/// What starts the line that says that a guest is ready; JSON follows.
pub(crate) const READY: &str = "ready ";

/// What a guest says of itself when it is up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Version of chv-uos.
    pub version: String,
    /// Release of the running kernel.
    pub kernel: String,
    /// The boot that it is in: the kernel's random id, another one after each boot; empty when it can't be read.
    #[serde(default)]
    pub boot: String,
    /// Time since the kernel started, when the line was written, in milliseconds.
    pub uptime_ms: u64,
    /// Addresses of the NIC; empty without one, and while DHCP has not answered.
    pub addresses: Vec<Cidr>,
}

/// What a guest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromGuest {
    /// It is up.
    Ready(Ready),
    /// It was asked to power off and does so now.
    Bye,
    /// It did not understand a request; the text says why.
    Error(String),
}

/// What a host asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Say `ready`, with what is true now.
    Status,
    /// Power off in an orderly way.
    PowerOff,
}

/// A line that is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Nothing that this side knows.
    #[error("unknown message `{0}`")]
    Unknown(String),
    /// `ready` without the JSON that belongs to it.
    #[error("`ready` is followed by something else than its JSON: {0}")]
    Ready(String),
}

impl fmt::Display for FromGuest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready(ready) => {
                let json = serde_json::to_string(ready).map_err(|_| fmt::Error)?;
                write!(f, "{READY}{json}")
            }
            Self::Bye => f.write_str("bye"),
            Self::Error(why) => write!(f, "error {}", why.replace(['\n', '\r'], " ")),
        }
    }
}

impl FromStr for FromGuest {
    type Err = ProtocolError;

    fn from_str(line: &str) -> Result<Self, ProtocolError> {
        if let Some(json) = line.strip_prefix(READY) {
            return serde_json::from_str(json)
                .map(Self::Ready)
                .map_err(|error| ProtocolError::Ready(error.to_string()));
        }
        match line.split_once(' ') {
            None if line == "bye" => Ok(Self::Bye),
            Some(("error", why)) => Ok(Self::Error(why.to_owned())),
            _ => Err(ProtocolError::Unknown(line.to_owned())),
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status => f.write_str("status"),
            Self::PowerOff => f.write_str("poweroff"),
        }
    }
}

impl FromStr for Request {
    type Err = ProtocolError;

    fn from_str(line: &str) -> Result<Self, ProtocolError> {
        match line.trim() {
            "status" => Ok(Self::Status),
            "poweroff" => Ok(Self::PowerOff),
            other => Err(ProtocolError::Unknown(other.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn given_a_ready_guest_when_written_then_the_line_is_as_documented() {
        let ready = Ready {
            version: "0.1.0".into(),
            kernel: "6.1.0-56-cloud-amd64".into(),
            boot: "9a0c".into(),
            uptime_ms: 1234,
            addresses: vec!["10.0.2.15/24".parse().unwrap()],
        };
        assert_eq!(
            FromGuest::Ready(ready).to_string(),
            r#"ready {"version":"0.1.0","kernel":"6.1.0-56-cloud-amd64","boot":"9a0c","uptime_ms":1234,"addresses":["10.0.2.15/24"]}"#
        );
    }

    #[test]
    fn given_a_broken_ready_when_read_then_it_is_refused() {
        assert!(matches!(
            "ready {}".parse::<FromGuest>(),
            Err(ProtocolError::Ready(_))
        ));
        assert!(matches!(
            "ready".parse::<FromGuest>(),
            Err(ProtocolError::Unknown(_))
        ));
    }

    #[test]
    fn given_a_request_when_written_and_read_then_it_is_the_same() {
        for request in [Request::Status, Request::PowerOff] {
            assert_eq!(request.to_string().parse(), Ok(request));
        }
    }

    proptest! {
        #[test]
        fn given_any_message_when_written_and_read_then_it_is_the_same(
            version in ".{0,20}", kernel in ".{0,20}", boot in ".{0,20}", uptime_ms: u64, bits in proptest::collection::vec(0u32.., 0..4),
        ) {
            let addresses = bits.into_iter().map(|b| Cidr::new(b.into(), 24).unwrap()).collect();
            let message = FromGuest::Ready(Ready { version, kernel, boot, uptime_ms, addresses });
            let line = message.to_string();
            prop_assert!(!line.contains('\n'));
            prop_assert_eq!(line.parse::<FromGuest>().unwrap(), message);
        }

        #[test]
        fn given_any_line_when_read_then_it_never_panics(line in ".{0,200}") {
            let _ = line.parse::<FromGuest>();
            let _ = line.parse::<Request>();
        }
    }
}
