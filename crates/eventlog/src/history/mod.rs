//! History: what the Raft log no longer needs, sealed in compressed and chained files that are never changed.
//!
//! [`format`] is the form of a file, and knows no disk; [`store`] is the files of a replica, [`reading`] reads them; [`seal`] makes them out
//! of the log; [`pace`] says when snapshots are due and what the log may lose; [`upkeep`] is the thread that does it;
//! [`fetch`] gets from other replicas what is missing here; [`checkpoint`] keeps states of the past.

mod base;
pub(crate) mod checkpoint;
mod error;
mod fetch;
pub(crate) mod format;
mod pace;
mod reading;
mod seal;
#[cfg(test)]
pub(crate) mod seal_tests;
mod sealed;
mod store;
#[cfg(test)]
mod store_tests;
mod upkeep;

pub(crate) use checkpoint::Checkpoints;
pub(crate) use error::HistoryError;
pub(crate) use fetch::Fetch;
pub(crate) use pace::{Pace, Weight};
pub(crate) use seal::{FileSize, Sealer};
pub(crate) use sealed::Sealed;
pub use sealed::SealedFile;
pub(crate) use store::History;
pub(crate) use upkeep::{Upkeep, UpkeepThread, lower_priority};
