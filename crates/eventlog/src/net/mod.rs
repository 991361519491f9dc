//! Raft's own connections between replicas: plain TCP, not through the broker, so that a broker's outage stops
//! no consensus.
//!
//! Every connection begins with a greeting that names the cluster, who calls and who is meant,
//! and shows the cluster's secret; either side
//! hangs up on a stranger. Then requests and answers alternate. What travels is prost; entries and a snapshot's
//! description are the frames that the peer has on its own disk, whose checksum is verified before they are
//! decoded.

mod client;
mod frame;
mod message;
mod server;

pub(crate) use client::Peers;
pub(crate) use server::{Callers, serve};
