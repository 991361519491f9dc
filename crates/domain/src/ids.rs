//! Identifiers. A ULID each, but of types of their own, so that one can't be passed for another. Kept as bytes, which lie
//! anywhere: a number of that size is aligned, and then a third of many tables is holes.

use std::cmp::Ordering;
use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ulid::Ulid;

/// Text that is not a ULID: 26 characters of Crockford's base 32.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {kind} id: expected a ULID of 26 characters")]
pub struct IdError {
    kind: &'static str,
    text: String,
}

macro_rules! ulid_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// Wraps a ULID that the caller knows to be of this kind.
            pub const fn from_ulid(ulid: Ulid) -> Self {
                Self(ulid.to_bytes())
            }

            /// The ULID itself.
            pub const fn ulid(self) -> Ulid {
                Ulid::from_bytes(self.0)
            }

            /// The 16 bytes, big endian.
            pub const fn to_bytes(self) -> [u8; 16] {
                self.0
            }

            /// From 16 bytes, big endian.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                u128::from_be_bytes(self.0).cmp(&u128::from_be_bytes(other.0))
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.ulid().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.ulid())
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Ulid::from_string(text)
                    .map(Self::from_ulid)
                    .map_err(|_| IdError { kind: $kind, text: text.to_owned() })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    serializer.serialize_bytes(&self.0)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = String::deserialize(deserializer)?;
                    text.parse().map_err(serde::de::Error::custom)
                } else {
                    let bytes = serde_bytes::ByteArray::<16>::deserialize(deserializer)?;
                    Ok(Self::from_bytes(*bytes))
                }
            }
        }
    };
}

ulid_id!(
    /// One virtual machine, for its whole life. It is the id of the command that created it, so that
    /// deciding needs no randomness and a retried create can't make two.
    VmId,
    "VM"
);
ulid_id!(
    /// One host. The host daemon makes it once and keeps it in its data directory.
    HostId,
    "host"
);
ulid_id!(
    /// One command, made by whoever sends it; a retry carries the same id and gets the first answer.
    CommandId,
    "command"
);
ulid_id!(
    /// One cluster; in every message between replicas and in every data directory.
    ClusterId,
    "cluster"
);
ulid_id!(
    /// One data directory of a replica, made with it: another one under the same replica's number has lost its log.
    DirectoryId,
    "directory"
);

impl VmId {
    /// The id of the VM that the command `id` creates.
    pub const fn created_by(id: CommandId) -> Self {
        Self(id.0)
    }
}

impl CommandId {
    /// When the sender made the command, by the sender's clock, in milliseconds since the Unix epoch.
    pub const fn made_at_ms(self) -> u64 {
        self.ulid().timestamp_ms()
    }
}

/// One replica of the event log, numbered from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReplicaId(NonZeroU64);

impl ReplicaId {
    /// `None` for 0.
    pub const fn new(number: u64) -> Option<Self> {
        match NonZeroU64::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ReplicaId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<u64>()
            .ok()
            .and_then(Self::new)
            .ok_or_else(|| format!("{text:?} is not a replica id: expected a number from 1"))
    }
}
