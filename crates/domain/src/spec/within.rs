//! Whole numbers within bounds that are part of their type.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::part::Part;

/// A whole number from `LEAST` to `MOST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Within<const LEAST: u64, const MOST: u64>(u64);

/// A number outside of its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{number} is not within {least} to {most}")]
pub struct OutOfBounds {
    number: u64,
    least: u64,
    most: u64,
}

impl<const LEAST: u64, const MOST: u64> Within<LEAST, MOST> {
    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl<const LEAST: u64, const MOST: u64> TryFrom<u64> for Within<LEAST, MOST> {
    type Error = OutOfBounds;

    fn try_from(number: u64) -> Result<Self, OutOfBounds> {
        match (LEAST..=MOST).contains(&number) {
            true => Ok(Self(number)),
            false => Err(OutOfBounds {
                number,
                least: LEAST,
                most: MOST,
            }),
        }
    }
}

impl<const LEAST: u64, const MOST: u64> From<Within<LEAST, MOST>> for u64 {
    fn from(number: Within<LEAST, MOST>) -> u64 {
        number.0
    }
}

impl<const LEAST: u64, const MOST: u64> fmt::Display for Within<LEAST, MOST> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<const LEAST: u64, const MOST: u64> Part for Within<LEAST, MOST> {
    fn values() -> String {
        format!("a whole number, {LEAST} to {MOST}")
    }
}
