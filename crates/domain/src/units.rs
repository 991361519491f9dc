//! Amounts that a spec asks for, each with its unit in the type.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const MIB: u64 = 1 << 20;

/// A whole number of virtual CPUs, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Vcpus(NonZeroU32);

/// Zero where at least one is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a VM needs at least 1 vCPU")]
pub struct NoVcpus;

impl Vcpus {
    /// `count` vCPUs.
    pub fn new(count: u32) -> Result<Self, NoVcpus> {
        NonZeroU32::new(count).map(Self).ok_or(NoVcpus)
    }

    /// The count.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for Vcpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Vcpus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(u32::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// A VM's memory: a whole number of MiB, at least one. People write `512MiB` or `2GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Memory(NonZeroU32);

/// Why an amount of memory can't be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// Zero.
    #[error("a VM needs at least 1MiB of memory")]
    Zero,
    /// Not a number and a unit.
    #[error("{0:?} is not an amount of memory: write a whole number and MiB, GiB or TiB, such as 512MiB")]
    Grammar(String),
    /// Over what the type holds.
    #[error("{0:?} is more memory than any host has")]
    TooMuch(String),
}

impl Memory {
    /// `mib` MiB.
    pub fn from_mib(mib: u32) -> Result<Self, MemoryError> {
        NonZeroU32::new(mib).map(Self).ok_or(MemoryError::Zero)
    }

    /// The amount in MiB.
    pub const fn mib(self) -> u32 {
        self.0.get()
    }

    /// The amount in bytes.
    pub fn bytes(self) -> u64 {
        u64::from(self.0.get()) * MIB
    }
}

/// Writes MiB in the largest unit that divides them.
pub fn format_mib(mib: u64) -> String {
    match mib {
        0 => "0MiB".to_owned(),
        tib if tib.is_multiple_of(1 << 20) => format!("{}TiB", tib >> 20),
        gib if gib.is_multiple_of(1 << 10) => format!("{}GiB", gib >> 10),
        mib => format!("{mib}MiB"),
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format_mib(u64::from(self.mib())))
    }
}

impl FromStr for Memory {
    type Err = MemoryError;

    fn from_str(text: &str) -> Result<Self, MemoryError> {
        let grammar = || MemoryError::Grammar(text.to_owned());
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let factor: u64 = match unit.trim() {
            "MiB" | "Mi" => 1,
            "GiB" | "Gi" => 1 << 10,
            "TiB" | "Ti" => 1 << 20,
            _ => return Err(grammar()),
        };
        let number: u64 = number.parse().map_err(|_| grammar())?;
        let mib = number.checked_mul(factor).and_then(|mib| u32::try_from(mib).ok());
        Self::from_mib(mib.ok_or_else(|| MemoryError::TooMuch(text.to_owned()))?)
    }
}

impl Serialize for Memory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_u32(self.mib())
        }
    }
}

impl<'de> Deserialize<'de> for Memory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            text.parse().map_err(serde::de::Error::custom)
        } else {
            Self::from_mib(u32::deserialize(deserializer)?).map_err(serde::de::Error::custom)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn memory_reads_back_what_it_writes(mib in 1u32..) {
            let memory = Memory::from_mib(mib).unwrap();
            prop_assert_eq!(memory.to_string().parse(), Ok(memory));
        }

        #[test]
        fn junk_is_refused_without_a_panic(text in ".{0,30}") {
            let _ = text.parse::<Memory>();
        }
    }

    #[test]
    fn zero_and_unitless_amounts_are_refused() {
        assert_eq!("0MiB".parse::<Memory>(), Err(MemoryError::Zero));
        assert!(matches!("512".parse::<Memory>(), Err(MemoryError::Grammar(_))));
        assert!(matches!(
            "9999999TiB".parse::<Memory>(),
            Err(MemoryError::TooMuch(_))
        ));
        assert_eq!(Vcpus::new(0), Err(NoVcpus));
    }
}
