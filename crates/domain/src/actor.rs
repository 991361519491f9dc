//! Who did it: the author of a record.
//!
//! An actor is always taken from the NATS subject that a message came on, which the server's permissions
//! tie to one user; it is never read from a payload. A replica sends nothing: it decides for itself as leader.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::ReplicaId;
use crate::name::{HostName, NameError, UserName};
use crate::text::Parse;

/// The author of a record. Written `alice` for a user, `host/h1` for a host daemon and
/// `replica/1` for a replica.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Actor {
    /// A person or a program with a NATS user of its own.
    User(UserName),
    /// A host's daemon, reporting what it measured.
    Host(HostName),
    /// A replica, recording as leader what became of the cluster.
    Replica(ReplicaId),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => f.pad(name.as_str()),
            Self::Host(name) => f.pad(&format!("host/{name}")),
            Self::Replica(id) => f.pad(&format!("replica/{id}")),
        }
    }
}

impl FromStr for Actor {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.split_once('/') {
            Some(("host", host)) => host.parse().map(Self::Host),
            Some(("replica", id)) => id.parse().map(Self::Replica).map_err(|_| NameError::Grammar {
                kind: "replica",
                text: id.to_owned(),
            }),
            Some(_) | None => text.parse().map(Self::User),
        }
    }
}

impl Serialize for Actor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::User(name) => serializer.serialize_str(name.as_str()),
            Self::Host(_) | Self::Replica(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Actor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Parse::new("the author of a record"))
    }
}
