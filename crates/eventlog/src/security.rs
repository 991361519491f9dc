//! How replicas know each other: what an operator gives a replica for its connections. What is done with it is in
//! `net`.

use std::path::PathBuf;

use crate::secret::ClusterSecret;

/// How replicas know each other.
#[derive(Debug, Clone)]
pub enum PeerSecurity {
    /// By certificates, over TLS: on any address.
    Tls(TlsFiles),
    /// By a secret that they share, unencrypted: on loopback addresses only.
    LoopbackSecret(ClusterSecret),
}

/// A replica's certificate and what belongs to it, in PEM. Read again when they change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The replica's certificate, whose DNS name is [`replica_name`](crate::replica_name), and after it those between
    /// it and the authority's, if any.
    pub cert: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// The certificates of the authorities that sign for replicas of this cluster: one, or two while one takes the
    /// place of the other.
    pub ca: PathBuf,
}
