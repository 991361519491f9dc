//! Starting Raft on a replica's files.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chv_domain::ReplicaId;
use openraft::error::{InitializeError, RaftError};
use openraft::{Raft, SnapshotPolicy};
use tokio_util::task::TaskTracker;

use super::OpenError;
use crate::config::Timing;
use crate::log::members;
use crate::net::Peers;
use crate::raft::TypeConfig;
use crate::raft::log_storage::LogStorage;
use crate::raft::state_machine::StateMachine;

/// How long a follower may take over one piece of a snapshot.
const SNAPSHOT_PIECE: Duration = Duration::from_secs(30);

/// Starts it. It has tasks of its own, which end a little after it: the directory is in use until they have, and so has
/// `tasks`.
pub(super) async fn start(
    timing: Timing,
    replica: ReplicaId,
    peers: Peers,
    storage: LogStorage,
    machine: StateMachine,
    tasks: &TaskTracker,
) -> Result<Raft<TypeConfig>, OpenError> {
    let raft = Raft::new(
        replica.get(),
        settings(timing)?,
        peers.held(tasks.token()),
        storage.held(tasks.token()),
        machine.held(tasks.token()),
    );
    raft.await.map_err(failed)
}

/// Forms the cluster out of `peers`, unless this replica has heard of one.
pub(super) async fn form(
    raft: &Raft<TypeConfig>,
    peers: &BTreeMap<ReplicaId, SocketAddr>,
) -> Result<(), OpenError> {
    if raft.is_initialized().await.map_err(failed)? {
        return Ok(());
    }
    match raft.initialize(members(peers)).await {
        // Another replica formed it meanwhile, and this one has heard of it.
        Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

fn settings(timing: Timing) -> Result<Arc<openraft::Config>, OpenError> {
    let Timing { heartbeat, election } = timing;
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let raft = openraft::Config {
        cluster_name: "chronovisor".to_owned(),
        heartbeat_interval: millis(heartbeat),
        // The lease is what Raft calls the longest election timeout. When to stand is `elect`'s to say.
        enable_elect: false,
        election_timeout_min: millis(election).saturating_sub(1),
        election_timeout_max: millis(election),
        // A piece of a snapshot, and for the last piece also its flush and its decoding.
        install_snapshot_timeout: millis(SNAPSHOT_PIECE),
        // How much is sent at a time is the connection's to say: by bytes, and by what the follower has.
        max_payload_entries: u64::from(u32::MAX),
        // Both are asked for by what looks after history: only what is sealed may go.
        max_in_snapshot_log_to_keep: u64::MAX,
        snapshot_policy: SnapshotPolicy::Never,
        ..openraft::Config::default()
    };
    raft.validate().map(Arc::new).map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> OpenError {
    OpenError::Raft(error.to_string())
}
