//! The host daemon: follows what the log wants of this host, makes its machines so, and reports what it measured.
//!
//! What it never does: decide. Which VM is to run where is the leader's word; here it is only carried out.

pub mod check;
pub mod clock;
pub mod cluster;
pub mod console;
pub mod converge;
pub mod daemon;
pub mod data_dir;
pub mod facts;
pub mod files;
pub mod follow;
pub mod hypervisor;
pub mod leader;
pub mod lease;
pub mod ledger;
pub mod plan;
pub mod probe;
pub mod report;
mod seed;
pub mod stock;
mod uptime;
pub mod version;
pub mod wall;
