//! Opening a replica: its directory, its log, its state, and the tasks that belong to it.

mod error;
mod files;
mod leadership;
mod raft;
mod tasks;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use chv_domain::{ClusterId, Projection, ReplicaId};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::confirm::Confirm;
use crate::elect::{Able, Heard};
use crate::files::{Identity, IdentityError};
use crate::log::{EventLog, Inner};
use crate::net;
use crate::past::Known;

pub use error::OpenError;
use files::failed;
#[cfg(test)]
pub(crate) use files::log_files;
pub(crate) use files::{HISTORY, INDEX, LogFiles, SEGMENTS, SNAPSHOTS};
use tasks::Parts;

impl EventLog {
    /// Makes a replica's data directory. Refuses one that holds anything.
    pub fn init(dir: &Path, cluster: ClusterId, replica: ReplicaId) -> Result<(), IdentityError> {
        Identity::init(dir, cluster, replica).map(|_| ())
    }

    /// Opens a replica and lets it take part in its cluster.
    pub async fn open(config: Config) -> Result<Self, OpenError> {
        let address = config.listener.local_addr().map_err(failed)?;
        let (dir, identity) = files::claim(&config.dir)?;
        if config.bootstrap && !config.peers.contains_key(&identity.replica) {
            return Err(OpenError::NotAPeer(identity.replica));
        }
        let security = secure(&config, identity, address).await?;

        let disk = dir.disk().clone();
        let (fatal, fatal_told) = watch::channel(None);
        let files = files::open(dir, identity, config.segment_size, fatal).await?;
        let LogFiles {
            storage,
            writer,
            machine,
        } = files.log;
        let (applied, snapshots) = (machine.applied(), machine.snapshots());
        let foreseen = machine.foreseen();
        refuse_newer(&config, &applied.projection.borrow())?;

        let (unwelcome, unwelcome_told) = watch::channel(None);
        let greeting = net::greeting::Greeting::new(identity, config.format, applied.clone(), unwelcome);
        let peers = net::Peers::new(greeting.clone(), security.clone(), storage.clone());
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        // Should the opening fail later, what was started ends.
        let opening = stop.clone().drop_guard();
        let raft = raft::start(
            config.timing,
            identity.replica,
            peers.clone(),
            storage.clone(),
            machine,
            &tasks,
        )
        .await?;
        peers.follow(&raft);

        tasks.spawn(disk.look(config.segment_size, stop.clone()).await);
        let parts = Parts {
            identity,
            raft,
            storage,
            applied,
            history: files.history,
            peers,
            disk,
            heard: Heard::new(),
            able: Able::new(),
            lease: config.timing.election,
            stop,
            tasks,
        };
        let index = parts.keep_index(&config);
        let upkeep = parts.look_after_history(&config, snapshots).map_err(failed)?;
        let outdated = parts.answer_replicas(config.listener, files.incoming, greeting, security);
        parts.stand_for_election();
        let (leadership, elected) = parts.tell_who_leads();
        if config.bootstrap {
            raft::form(&parts.raft, &config.peers).await?;
        }

        opening.disarm();
        let inner = Inner {
            identity: parts.identity,
            raft: parts.raft,
            storage: parts.storage,
            history: parts.history,
            applied: parts.applied,
            foreseen,
            leadership,
            fatal: fatal_told,
            outdated,
            unwelcome: unwelcome_told,
            index,
            past: Known::default(),
            stop: parts.stop,
            tasks: parts.tasks,
            writer: Mutex::new(Some(writer)),
            confirm: Confirm::default(),
            upkeep: Mutex::new(Some(upkeep)),
            peers: parts.peers,
            able: parts.able,
            lease: parts.lease,
            elected,
            heard: parts.heard.leader(),
            disk: parts.disk,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }
}

/// The replica's certificates, with which it may be reached at `address`.
async fn secure(
    config: &Config,
    identity: Identity,
    address: SocketAddr,
) -> Result<net::Security, OpenError> {
    let security = config.security.clone();
    let loading = tokio::task::spawn_blocking(move || net::Security::load(security, identity));
    let security = loading.await.map_err(failed)??;
    match security.allows(address) {
        true => Ok(security),
        false => Err(OpenError::NotLoopback(address)),
    }
}

/// Refuses to open what later versions write.
fn refuse_newer(config: &Config, state: &Projection) -> Result<(), OpenError> {
    let (needed, reads) = (state.cluster().format(), config.format);
    match needed > reads {
        true => Err(OpenError::TooOld { needed, reads }),
        false => Ok(()),
    }
}
