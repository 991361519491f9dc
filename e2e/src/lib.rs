//! The rig of the end-to-end tests and of the demo: a whole Chronovisor on loopback, made of the real programs, real
//! sockets and really booting guests, that leaves nothing behind however its owner ends.
//!
//! It decides nothing about Chronovisor: it starts, kills, watches and asks. The programs are taken from where this one
//! lies and are never built here.

pub mod chv;
pub mod cluster;
mod directory;
pub mod failover;
pub mod faults;
mod guests;
pub mod history_check;
mod hosts;
mod layout;
mod machines;
pub mod peering;
mod ports;
mod program;
mod programs;
mod stand_in;
mod start;
mod state;
mod trail;
mod wait;
mod watchdog;

pub mod tiny_kernel;
pub mod vms;

pub use chv::Output;
pub use cluster::PATIENCE;
pub use cluster::{Cluster, Options, Replicas};
pub use directory::RigDirectory;
pub use guests::{Guest, Seen, Watch, belongings, below as guests_below, cgroups};
pub use hosts::HostOptions;
pub use machines::{BoxedGuest, HostBox, Machine};
pub use peering::Peering;
pub use ports::free as free_ports;
pub use program::Program;
pub use programs::{find as find_program, guest_dir, workspace};
pub use stand_in::{StandIn, facts as stand_in_facts};
pub use trail::{contiguous, trail};
pub use wait::wait_until;
