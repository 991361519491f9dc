//! Reading a value out of its text without a copy of the text: names and actors are in every record, and every replica
//! reads every record.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{Error, Visitor};

/// Parses what is read.
pub(crate) struct Parse<T> {
    expected: &'static str,
    of: PhantomData<T>,
}

impl<T> Parse<T> {
    /// `expected` says what is, where there is something else than text.
    pub(crate) const fn new(expected: &'static str) -> Self {
        Self {
            expected,
            of: PhantomData,
        }
    }
}

impl<T> Visitor<'_> for Parse<T>
where
    T: FromStr,
    T::Err: fmt::Display,
{
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}
