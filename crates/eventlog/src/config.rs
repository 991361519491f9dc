//! What a replica is opened with.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use chv_domain::ReplicaId;
use tokio::net::TcpListener;

use crate::security::PeerSecurity;

/// What a replica is opened with.
pub struct Config {
    /// Its data directory, made by [`crate::EventLog::init`].
    pub dir: PathBuf,
    /// Where the other replicas reach it; bound already. Loopback only, unless replicas have certificates.
    pub listener: TcpListener,
    /// Every replica that forms the cluster with its address, this one's included; needed for that only. Later the
    /// log itself says who the others are and where.
    pub peers: BTreeMap<ReplicaId, SocketAddr>,
    /// How they know each other.
    pub security: PeerSecurity,
    /// Whether to form the cluster out of `peers` when this replica's log is empty. Harmless later.
    pub bootstrap: bool,
    /// How Raft keeps time.
    pub timing: Timing,
    /// The highest record format that this program reads: [`chv_domain::FORMAT`], but in tests of older programs.
    pub format: u32,
    /// A snapshot is made after this many events, or after some tens of megabytes of them; of a large state after more.
    pub snapshot_every: u64,
    /// The size of a new segment file, in bytes.
    pub segment_size: u64,
    /// How history is sealed.
    pub sealing: Sealing,
    /// How long after the index is ready the whole of it is compared with history and the log; then once a day.
    pub verify_index_after: Duration,
}

impl Config {
    /// Sensible values for what is not said.
    pub fn new(
        dir: PathBuf,
        listener: TcpListener,
        peers: BTreeMap<ReplicaId, SocketAddr>,
        security: PeerSecurity,
    ) -> Self {
        Self {
            dir,
            listener,
            peers,
            security,
            bootstrap: false,
            timing: Timing::default(),
            format: chv_domain::FORMAT,
            snapshot_every: 64 << 10,
            segment_size: 16 << 20,
            sealing: Sealing::default(),
            verify_index_after: Duration::from_secs(60),
        }
    }
}

/// How history is sealed, and how much of the log stays nevertheless.
#[derive(Debug, Clone, Copy)]
pub struct Sealing {
    /// A file of history is full with this many events,
    pub file_events: u64,
    /// or with records of this many bytes, as stored.
    pub file_bytes: usize,
    /// Bytes of log that are kept, though sealed, so that a replica that was away for a while gets what it missed
    /// and no snapshot.
    pub keep_log: u64,
}

impl Default for Sealing {
    fn default() -> Self {
        Self {
            file_events: 16 << 10,
            file_bytes: 16 << 20,
            keep_log: 64 << 20,
        }
    }
}

/// How Raft keeps time.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// A leader's word that it is there.
    pub heartbeat: Duration,
    /// For so long after one, a replica votes for no other. Without one it stands for election after between this
    /// and two thirds more.
    pub election: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(250),
            election: Duration::from_millis(800),
        }
    }
}
