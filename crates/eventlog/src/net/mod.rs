//! Raft's own connections between replicas: TCP, not through the broker, so that a broker's outage stops no
//! consensus. Encrypted when replicas have certificates; else on loopback only.
//!
//! Every connection begins with a greeting that names the cluster, who calls and who is meant. The certificates, or
//! the cluster's secret in the greeting, prove it; either side hangs up on a stranger. Then requests and answers
//! alternate. What travels is prost; entries and a snapshot's description are the frames that the peer has on its own
//! disk, whose checksum is verified before they are decoded. Nothing but a short greeting is decoded before.

mod align;
mod append;
mod dial;
mod disks;
mod frame;
pub(crate) mod greeting;
mod history;
mod message;
#[cfg(test)]
mod newer_tests;
mod notice;
pub(crate) mod outdated;
mod peer;
mod peers;
mod reach;
mod refused;
mod security;
mod server;
mod shown;
mod snapshot;
mod spare;
mod stream;
mod tls;

pub(crate) use peer::Peer;
pub(crate) use peers::{Peers, TakeOver};
pub(crate) use security::Security;
pub(crate) use server::{Answering, Callers, serve};
pub use tls::{CertificateError, replica_name};
