//! A replica's data directory while no process has it open: looked at, and checked. Nothing in it is changed,
//! so a file system that is mounted read-only serves.
//!
//! [`inspect`] says what there is; [`verify`] proves it, record by record. Neither repairs anything: what a replica
//! can repair, it repairs when it opens, and the rest comes from a backup or from its peers.

mod chain;
mod dir;
mod finding;
mod history;
mod inspect;
mod log;
mod small;
mod snapshots;
#[cfg(test)]
pub(crate) mod tests;
mod verification;
mod walk;

pub use dir::{ClosedDir, OfflineError};
pub(crate) use finding::as_text;
pub use finding::{Finding, FindingKind};
pub use inspect::{
    Inspection, LastRecord, LogRange, Position, SegmentFile, Sizes, SnapshotFile, Versions, Vote, inspect,
};
pub use verification::{Progress, Verification, verify};
pub(crate) use walk::walk;
