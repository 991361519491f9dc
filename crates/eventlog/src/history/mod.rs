//! History: what the Raft log no longer needs, sealed in compressed and chained files that are never changed.
//!
//! [`format`] is the form of a file, and knows no disk; [`store`] is the files of a replica.

// Reading, fetching and offline checks each take a part into use.
#![allow(dead_code)]

pub(crate) mod format;
mod store;
#[cfg(test)]
mod store_tests;

#[allow(unused_imports)]
pub(crate) use store::{History, HistoryError, Sealed, Span};
