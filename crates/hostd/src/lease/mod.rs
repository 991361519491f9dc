//! A host's lease: its right to run the VMs that ask for failover. See docs/adr/0026.

pub(crate) mod asks;
mod end;
pub mod guard;
mod held;
mod keeper;
mod note;

pub use held::{Grant, HeldLease, Renewal, SinceBoot};
pub use keeper::Lease;
pub use note::now;
