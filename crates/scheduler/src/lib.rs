//! The scheduler: one replica of the event log, and what it does with it.
//!
//! ```text
//! every replica   liveness  hears heartbeats          query    answers reads          slice   answers hosts
//! the leader      lead::intake -> lead::decider -> event log -> lead::publisher, lead::tick
//! ```
//!
//! A message goes one way: in at the intake, through the decider into the log, out by the publisher. The
//! rules are in `chv-domain`; nothing here knows what a command means.

mod answer;
mod connection;
pub mod lead;
pub mod liveness;
mod query;
mod replica;
mod serve;
mod slice;

pub use replica::{Replica, ReplicaConfig, ReplicaError};
