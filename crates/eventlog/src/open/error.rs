//! Why a replica does not open.

use chv_domain::ReplicaId;

use crate::files::IdentityError;
use crate::net;
use crate::raft::fit::Misfit;

/// Why a replica does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its data directory is not one, or not this one.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Another process has it open.
    #[error("{0} is in use by another process: stop that one, or give this replica a directory of its own")]
    InUse(String),
    /// Nothing can be written to it, and a replica that writes nothing can vote for nobody.
    #[error(
        "{0} is on a file system that is read-only: look in the kernel's log for why, mend the disk and mount it \
         for writing; `chv log` reads the directory as it is"
    )]
    ReadOnly(String),
    /// Reachable from elsewhere, without encryption.
    #[error(
        "without certificates replicas listen on loopback addresses only, not on {0}; give this one --raft-cert, \
         --raft-key and --raft-ca"
    )]
    NotLoopback(std::net::SocketAddr),
    /// Its certificate is of no use.
    #[error(transparent)]
    Certificate(#[from] net::CertificateError),
    /// This replica is not among its peers.
    #[error(
        "the peers do not name this replica, {0}; add it to --peers, with the address that it listens on"
    )]
    NotAPeer(ReplicaId),
    /// A log file.
    #[error("the log does not open: {0}")]
    Log(String),
    /// The cluster writes what this program does not read.
    #[error(
        "the cluster writes records up to format {needed}, and this program reads up to {reads}; start a newer version \
         on the same data"
    )]
    TooOld {
        /// What the cluster writes.
        needed: u32,
        /// What this program reads.
        reads: u32,
    },
    /// Its parts read, but don't fit together.
    #[error(transparent)]
    Misfit(#[from] Misfit),
    /// Raft.
    #[error("Raft does not start: {0}")]
    Raft(String),
}
