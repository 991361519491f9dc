//! How much of history is kept: a setting of the cluster, and what was forgotten by it.
//!
//! Whether the setting is exceeded is seen from the sizes of files, so it is the leader's to find out; what it found
//! becomes an event, after which no replica keeps or shows what is before.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::seq::Seq;
use crate::time::Timestamp;

/// How much of history is kept: what is beyond any of the limits may be forgotten. Without one, nothing is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Events that are older may be forgotten.
    pub keep_for: Option<KeepFor>,
    /// Sealed history takes up no more than about this of each replica's disk.
    pub keep_size: Option<KeepSize>,
}

impl Retention {
    /// Nothing is ever forgotten.
    pub const FOREVER: Self = Self {
        keep_for: None,
        keep_size: None,
    };
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.keep_for, self.keep_size) {
            (None, None) => f.write_str("forever"),
            (Some(time), None) => time.fmt(f),
            (None, Some(size)) => size.fmt(f),
            (Some(time), Some(size)) => write!(f, "{time}, at most {size}"),
        }
    }
}

/// What was forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forgotten {
    /// The last event that is not kept. A record ends with it.
    pub upto: Seq,
    /// When the first record that is kept was decided.
    pub kept_from: Timestamp,
}

/// For how long events are kept: a whole number of seconds, at least one. People write `90d` or `12h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeepFor(NonZeroU32);

/// How much space history may take up, in bytes, at least one. People write `20GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeepSize(NonZeroU64);

/// Why a limit can't be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// Nothing would be kept.
    #[error("with a limit of zero no history would be kept")]
    Zero,
    /// Not a number and a unit.
    #[error("{text:?} is no limit: write a whole number and {units}, such as {example}")]
    Grammar {
        /// What was written.
        text: String,
        /// The units that there are.
        units: &'static str,
        /// One that is right.
        example: &'static str,
    },
    /// Over what the type holds.
    #[error("{0:?} is more than can be told; to keep everything, set no limit")]
    TooMuch(String),
}

const TIMES: [(&str, u64); 5] = [("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
const SIZES: [(&str, u64); 4] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
];

impl KeepFor {
    /// `seconds` seconds.
    pub fn from_seconds(seconds: u32) -> Result<Self, LimitError> {
        NonZeroU32::new(seconds).map(Self).ok_or(LimitError::Zero)
    }

    /// In seconds.
    pub const fn seconds(self) -> u32 {
        self.0.get()
    }

    /// As a span of time.
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0.get() as u64)
    }
}

impl KeepSize {
    /// `bytes` bytes.
    pub fn from_bytes(bytes: u64) -> Result<Self, LimitError> {
        NonZeroU64::new(bytes).map(Self).ok_or(LimitError::Zero)
    }

    /// In bytes.
    pub const fn bytes(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for KeepFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Weeks are read, and told in days.
        in_largest(f, u64::from(self.seconds()), &TIMES[1..], "s")
    }
}

impl fmt::Display for KeepSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        in_largest(f, self.bytes(), &SIZES, "B")
    }
}

impl FromStr for KeepFor {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let seconds = amount(text, &TIMES, "s, m, h, d or w", "90d")?;
        let seconds = u32::try_from(seconds).map_err(|_| LimitError::TooMuch(text.to_owned()))?;
        Self::from_seconds(seconds)
    }
}

impl FromStr for KeepSize {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        match text.strip_suffix('B').map(str::parse) {
            Some(Ok(bytes)) => Self::from_bytes(bytes),
            _ => Self::from_bytes(amount(text, &SIZES, "KiB, MiB, GiB or TiB", "20GiB")?),
        }
    }
}

fn in_largest(f: &mut fmt::Formatter<'_>, amount: u64, units: &[(&str, u64)], least: &str) -> fmt::Result {
    match units.iter().find(|(_, factor)| amount.is_multiple_of(*factor)) {
        Some((unit, factor)) => f.pad(&format!("{}{unit}", amount / factor)),
        None => f.pad(&format!("{amount}{least}")),
    }
}

fn amount(
    text: &str,
    units: &[(&str, u64)],
    names: &'static str,
    example: &'static str,
) -> Result<u64, LimitError> {
    let grammar = || LimitError::Grammar {
        text: text.to_owned(),
        units: names,
        example,
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit).ok_or_else(grammar)?;
    if number.is_empty() {
        return Err(grammar());
    }
    let number = number.parse::<u64>().ok();
    number
        .and_then(|number| number.checked_mul(*factor))
        .ok_or_else(|| LimitError::TooMuch(text.to_owned()))
}

impl Serialize for KeepFor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => serializer.collect_str(self),
            false => serializer.serialize_u32(self.seconds()),
        }
    }
}

impl<'de> Deserialize<'de> for KeepFor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = match deserializer.is_human_readable() {
            true => String::deserialize(deserializer)?.parse(),
            false => Self::from_seconds(u32::deserialize(deserializer)?),
        };
        read.map_err(serde::de::Error::custom)
    }
}

impl Serialize for KeepSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => serializer.collect_str(self),
            false => serializer.serialize_u64(self.bytes()),
        }
    }
}

impl<'de> Deserialize<'de> for KeepSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = match deserializer.is_human_readable() {
            true => String::deserialize(deserializer)?.parse(),
            false => Self::from_bytes(u64::deserialize(deserializer)?),
        };
        read.map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_limit_reads_back_what_it_writes(seconds in 1u32.., bytes in 1u64..) {
            let time = KeepFor::from_seconds(seconds).unwrap();
            prop_assert_eq!(time.to_string().parse(), Ok(time));
            let size = KeepSize::from_bytes(bytes).unwrap();
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }

        #[test]
        fn junk_is_refused_without_a_panic(text in ".{0,30}") {
            let _ = (text.parse::<KeepFor>(), text.parse::<KeepSize>());
        }
    }

    #[test]
    fn limits_are_written_as_people_would() {
        assert_eq!("2w".parse::<KeepFor>().unwrap().to_string(), "14d");
        assert_eq!("90m".parse::<KeepFor>().unwrap().to_string(), "90m");
        assert_eq!("2048MiB".parse::<KeepSize>().unwrap().to_string(), "2GiB");
        assert_eq!("0d".parse::<KeepFor>(), Err(LimitError::Zero));
        assert!(matches!("90".parse::<KeepFor>(), Err(LimitError::Grammar { .. })));
        assert!(matches!("d".parse::<KeepFor>(), Err(LimitError::Grammar { .. })));
        assert!(matches!(
            "20GB".parse::<KeepSize>(),
            Err(LimitError::Grammar { .. })
        ));
        assert!(matches!(
            "99999999TiB".parse::<KeepSize>(),
            Err(LimitError::TooMuch(_))
        ));
    }
}
