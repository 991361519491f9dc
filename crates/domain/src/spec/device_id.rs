//! The name that a disk or a network card has within its VM.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smol_str::SmolStr;

use super::part::Part;
use crate::text::Parse;

/// A device's name, unique among those of its kind in a VM: 1 to 15 of a-z, 0-9 and `-`, a letter first. The guest sees
/// it as a disk's serial number when the disk has none of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(SmolStr);

/// A text that is no device's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no id for a device: use 1 to 15 of a-z, 0-9 and -, beginning with a letter")]
pub struct DeviceIdError(String);

impl DeviceId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DeviceId {
    type Err = DeviceIdError;

    fn from_str(text: &str) -> Result<Self, DeviceIdError> {
        let letter = text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
        let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        match letter && text.len() <= 15 && text.bytes().all(plain) {
            true => Ok(Self(text.into())),
            false => Err(DeviceIdError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for DeviceId {
    type Error = DeviceIdError;

    fn try_from(text: String) -> Result<Self, DeviceIdError> {
        text.parse()
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Serialize for DeviceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for DeviceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Parse::new("a device's id"))
    }
}

impl Part for DeviceId {
    fn values() -> String {
        "1 to 15 of a-z, 0-9 and -, a letter first".to_owned()
    }
}

/// The first id that is there twice, with its place.
pub(super) fn twice<'a>(ids: impl Iterator<Item = &'a DeviceId>) -> Option<(usize, &'a DeviceId)> {
    let mut seen = std::collections::BTreeSet::new();
    ids.enumerate().find(|(_, id)| !seen.insert(*id))
}
