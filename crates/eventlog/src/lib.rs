//! The event log: one replica's part of a log that a majority holds on disk before anybody is told.
//!
//! ```text
//! log, open, read   what the scheduler sees: append, watch, read; config, status and confirm are parts of it
//! raft              openraft's view: log storage, state machine, snapshots, the writer thread
//! segment           the log's own files
//! files             identity, vote, the lock on the directory, and what is known of its disk; `disks` is whether enough have room
//! net               connections between replicas
//! index             where records are found; sled; made again from history and the log when in doubt
//! archive           a whole cluster in one file: written, checked, restored
//! offline           a data directory that no process has open: looked at, and checked
//! ```
//!
//! What events mean is the domain's business; nothing here looks into them except to index them.

// openraft's error types are large, and its traits return them by value.
#![allow(clippy::result_large_err)]

mod append;
pub mod archive;
mod chain;
mod config;
mod confirm;
mod disks;
mod elect;
mod files;
#[cfg(test)]
mod forgotten_tests;
#[cfg(test)]
mod golden;
mod history;
mod index;
mod log;
mod members;
mod net;
pub mod offline;
mod open;
mod past;
#[cfg(test)]
mod purged_tests;
mod raft;
mod read;
mod secret;
mod security;
mod segment;
mod status;
mod step_down;
#[cfg(test)]
mod testing;
mod timings;

pub use append::{AppendError, Appending};
pub use config::{Config, Sealing, Timing};
pub use confirm::NotConfirmed;
pub use disks::NoDisk;
pub use files::{DiskTrouble, FileError, IdentityError};
pub use history::SealedFile;
pub use history::checkpoint::CheckpointPiece;
pub use index::{IndexError, IndexHealth, IndexState, Order};
pub use log::{EventLog, Leadership};
pub use members::{Membership, MembershipError};
pub use net::greeting::Unwelcome;
pub use net::outdated::Outdated;
pub use net::{CertificateError, replica_name};
pub use open::OpenError;
pub use past::PastError;
pub use raft::fit::Misfit;
pub use read::{Found, Kept, Limit, ReadError, Search};
pub use secret::{ClusterSecret, SecretError};
pub use security::{PeerSecurity, TlsFiles};
pub use status::{Role, Status};
pub use step_down::StepDownError;
pub use timings::{Stage, StageTiming, Timings};
