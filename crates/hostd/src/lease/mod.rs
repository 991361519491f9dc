//! A host's lease: its right to run the VMs that ask for failover. See docs/adr/0026.

mod held;

pub use held::{Grant, HeldLease, Renewal, SinceBoot};
