//! Opening a replica: its directory, its log, its state, and the tasks that belong to it.

use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use chv_domain::{ClusterId, ReplicaId, Term};
use openraft::error::{InitializeError, RaftError as OpenraftError};
use openraft::{Raft, ServerState, SnapshotPolicy};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, Timing};
use crate::confirm::Confirm;
use crate::elect::{self, Able, Heard};
use crate::files::{Dir, Identity, IdentityError, Room};
use crate::history::{Checkpoints, Fetch, FileSize, History, Pace, Sealer, Upkeep};
use crate::index;
use crate::log::{Elected, EventLog, Inner, Leadership, members};
use crate::net;
use crate::past::Known;
use crate::raft::fit::{self, Misfit};
use crate::raft::incoming::Incoming;
use crate::raft::log_storage::LogStorage;
use crate::raft::snapshot::Snapshots;
use crate::raft::state_machine::StateMachine;
use crate::raft::writer::Writer;
use crate::raft::{LogId, TypeConfig};
use crate::segment::SegmentStore;

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

impl EventLog {
    /// Makes a replica's data directory. Refuses one that holds anything.
    pub fn init(dir: &Path, cluster: ClusterId, replica: ReplicaId) -> Result<(), IdentityError> {
        Identity::init(dir, cluster, replica).map(|_| ())
    }

    /// Opens a replica and lets it take part in its cluster.
    pub async fn open(config: Config) -> Result<Self, OpenError> {
        let io = |error: std::io::Error| OpenError::Log(error.to_string());
        let address = config.listener.local_addr().map_err(io)?;
        let dir = Arc::new(Dir::open(&config.dir).map_err(io)?);
        let identity = Identity::read(&dir)?;
        dir.lock().map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => OpenError::InUse(config.dir.display().to_string()),
            _ => io(error),
        })?;
        if dir.is_read_only() {
            return Err(OpenError::ReadOnly(config.dir.display().to_string()));
        }
        if config.bootstrap && !config.peers.contains_key(&identity.replica) {
            return Err(OpenError::NotAPeer(identity.replica));
        }
        let security = config.security.clone();
        let security = tokio::task::spawn_blocking(move || net::Security::load(security, identity))
            .await
            .map_err(|error| OpenError::Log(error.to_string()))??;
        if !security.allows(address) {
            return Err(OpenError::NotLoopback(address));
        }
        let (fatal, fatal_told) = watch::channel(None);
        let opening = {
            let (dir, segment_size) = (Arc::clone(&dir), config.segment_size);
            tokio::task::spawn_blocking(move || files(dir, identity, segment_size, fatal))
        };
        let ((storage, thread, machine), history, incoming) = opening
            .await
            .map_err(|error| OpenError::Log(error.to_string()))??;
        let (applied, snapshots) = (machine.applied(), machine.snapshots());
        let foreseen = machine.foreseen();
        let raft_config = raft_config(&config)?;
        let needed = applied.projection.borrow().cluster().format();
        if needed > config.format {
            return Err(OpenError::TooOld {
                needed,
                reads: config.format,
            });
        }
        let (unwelcome, unwelcome_told) = watch::channel(None);
        let greeting = net::greeting::Greeting::new(identity, config.format, applied.clone(), unwelcome);
        let network = net::Peers::new(greeting.clone(), security.clone(), storage.clone());
        let (heard, able) = (Heard::new(), Able::new());
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        // Should the opening fail later, what was started ends.
        let opening = stop.clone().drop_guard();
        let raft = Raft::new(
            identity.replica.get(),
            raft_config,
            // Raft has tasks of its own, which end a little after it: the directory is in use until they have.
            network.clone().held(tasks.token()),
            storage.clone().held(tasks.token()),
            machine.held(tasks.token()),
        )
        .await
        .map_err(|error| OpenError::Raft(error.to_string()))?;
        network.follow(&raft);
        let (room, looking) = Room::watch(config.dir.clone(), config.segment_size, stop.clone()).await;
        tasks.spawn(looking);
        tasks.spawn(security.clone().keep_current(stop.clone()));
        let (outdated, outdated_told) = watch::channel(None);
        let callers = net::Callers::new(greeting, security, applied.clone(), outdated);
        let answering = net::Answering {
            raft: raft.clone(),
            log: storage.clone(),
            history: history.clone(),
            incoming,
            heard: heard.clone(),
            able: able.clone(),
            lease: config.timing.election,
            disk: room.clone(),
        };
        tasks.spawn(net::serve(config.listener, answering, callers, stop.clone()));
        let lease = config.timing.election;
        tasks.spawn(elect::when_nobody_leads(
            raft.clone(),
            network.clone(),
            storage.clone(),
            heard,
            able.clone(),
            lease,
            stop.clone(),
        ));
        let (reached, index_reached) = watch::channel(index::Reached::default());
        let follower = index::Follower {
            path: config.dir.join(INDEX),
            sources: index::Sources {
                log: storage.clone(),
                history: history.clone(),
                applied: applied.clone(),
            },
            reached,
            verify_after: config.verify_index_after,
        };
        tasks.spawn(follower.run(stop.clone()));
        let (missing, missing_told) = watch::channel(None);
        let upkeep = Upkeep {
            sealer: Sealer::new(
                history.clone(),
                storage.clone(),
                FileSize {
                    events: config.sealing.file_events,
                    bytes: config.sealing.file_bytes,
                },
            ),
            checkpoints: Checkpoints::new(history.clone(), CHECKPOINT_EVENTS),
            log: storage.clone(),
            snapshots,
            applied: applied.clone(),
            raft: raft.clone(),
            pace: Pace::new(config.snapshot_every, SNAPSHOT_BYTES, applied.base.borrow().seq),
            keep_log: config.sealing.keep_log,
            missing,
            room: room.clone(),
        };
        let fetch = Fetch {
            history: history.clone(),
            applied: applied.clone(),
            peers: network.clone(),
            missing: missing_told,
            room: room.clone(),
        };
        tasks.spawn(fetch.run(stop.clone()));
        let upkeep = upkeep.start(tasks.token()).map_err(io)?;
        let elected = Elected::default();
        let (leads, leadership) = watch::channel(Leadership::Follower { leader: None });
        tasks.spawn(watch_leadership(
            raft.clone(),
            identity.replica,
            applied.entry.subscribe(),
            leads,
            Arc::clone(&elected),
            stop.clone(),
        ));
        let initialised = raft
            .is_initialized()
            .await
            .map_err(|error| OpenError::Raft(error.to_string()))?;
        if config.bootstrap && !initialised {
            match raft.initialize(members(&config.peers)).await {
                // Another replica formed the cluster meanwhile, and this one has heard of it.
                Ok(()) | Err(OpenraftError::APIError(InitializeError::NotAllowed(_))) => {}
                Err(error) => return Err(OpenError::Raft(error.to_string())),
            }
        }
        opening.disarm();
        let inner = Inner {
            identity,
            raft,
            storage,
            history,
            applied,
            foreseen,
            leadership,
            fatal: fatal_told,
            outdated: outdated_told,
            unwelcome: unwelcome_told,
            index: index_reached,
            past: Known::default(),
            stop,
            tasks,
            writer: Mutex::new(Some(thread)),
            confirm: Confirm::default(),
            upkeep: Mutex::new(Some(upkeep)),
            peers: network,
            able,
            lease,
            elected,
            room,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }
}

pub(crate) const INDEX: &str = "index";
pub(crate) const HISTORY: &str = "history";
pub(crate) const SEGMENTS: &str = "segments";
pub(crate) const SNAPSHOTS: &str = "snapshots";

/// A state of the past is kept for so many events of sealed history: what has to be folded, at most, to have the state
/// at any of them.
const CHECKPOINT_EVENTS: u64 = 16 << 10;

/// A snapshot is made after this many bytes of log at the latest, of a large state after more: what a restarted replica
/// has to replay.
const SNAPSHOT_BYTES: u64 = 64 << 20;

/// How long a follower may take over one piece of a snapshot.
const SNAPSHOT_PIECE: Duration = Duration::from_secs(30);

type LogFiles = (LogStorage, crate::raft::writer::WriterThread, StateMachine);

/// Opens all that is on the disk but the index, which takes longest and only searches need. Blocks.
fn files(
    dir: Arc<Dir>,
    identity: Identity,
    segment_size: u64,
    fatal: watch::Sender<crate::raft::writer::Fatal>,
) -> Result<(LogFiles, History, Incoming), OpenError> {
    let failed = |error: &dyn std::fmt::Display| OpenError::Log(error.to_string());
    let path = dir.path().to_owned();
    let files = log_files(dir, identity.replica, segment_size, fatal)?;
    let history = History::open(&path.join(HISTORY), identity.cluster).map_err(|error| failed(&error))?;
    let snapshots = Dir::open(&path.join(SNAPSHOTS)).map_err(|error| failed(&error))?;
    Ok((files, history, Incoming::new(Arc::new(snapshots))))
}

/// Opens the log, the vote and the snapshots, and makes sure that they fit together.
pub(crate) fn log_files(
    dir: Arc<Dir>,
    replica: ReplicaId,
    segment_size: u64,
    fatal: watch::Sender<crate::raft::writer::Fatal>,
) -> Result<LogFiles, OpenError> {
    let failed = |error: &dyn std::fmt::Display| OpenError::Log(error.to_string());
    // A vote that a killed process renamed into place counts from now on, so it has to last.
    dir.sync().map_err(|error| failed(&error))?;
    let first = LogStorage::first(&dir).map_err(|error| failed(&error))?;
    let segments = Arc::new(Dir::open(&dir.path().join(SEGMENTS)).map_err(|error| failed(&error))?);
    let store = SegmentStore::open(segments, segment_size, first).map_err(|error| failed(&error))?;
    let reader = store.reader();
    let (writer, thread) = Writer::start(store, fatal).map_err(|error| failed(&error))?;
    let storage =
        LogStorage::open(Arc::clone(&dir), replica, writer, reader).map_err(|error| failed(&error))?;
    let snapshots = Arc::new(Dir::open(&dir.path().join(SNAPSHOTS)).map_err(|error| failed(&error))?);
    let machine = StateMachine::open(Snapshots::new(snapshots), Some(storage.clone()))
        .map_err(|error| failed(&error))?;
    fit::check(dir.path(), &storage.ends(), machine.last_applied())?;
    Ok((storage, thread, machine))
}

fn raft_config(config: &Config) -> Result<Arc<openraft::Config>, OpenError> {
    let Timing { heartbeat, election } = config.timing;
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
    raft.validate()
        .map(Arc::new)
        .map_err(|error| OpenError::Raft(error.to_string()))
}

/// Tells who leads, whenever that changes.
async fn watch_leadership(
    raft: Raft<TypeConfig>,
    replica: ReplicaId,
    mut applied: watch::Receiver<Option<LogId>>,
    told: watch::Sender<Leadership>,
    elected: Elected,
    stop: CancellationToken,
) {
    let mut metrics = raft.server_metrics();
    loop {
        let now = {
            let metrics = metrics.borrow_and_update();
            let leader = metrics.current_leader.and_then(ReplicaId::new);
            let term = Term(metrics.vote.leader_id.term);
            match metrics.state {
                ServerState::Leader if leader == Some(replica) => {
                    // Several leaders may follow each other in one term, so the entry's leader is looked at too.
                    let own = |applied: LogId| {
                        applied.leader_id.term == term.0 && applied.leader_id.node_id == replica.get()
                    };
                    let ready = applied.borrow_and_update().is_some_and(own);
                    Leadership::Leader { term, ready }
                }
                _ => Leadership::Follower {
                    leader: leader.filter(|leader| *leader != replica),
                },
            }
        };
        if let Leadership::Leader { term, .. } = now {
            let mut elected = elected.lock().unwrap_or_else(PoisonError::into_inner);
            if elected.is_none_or(|(of, _)| of != term.0) {
                *elected = Some((term.0, Instant::now()));
            }
        }
        told.send_if_modified(|known| std::mem::replace(known, now) != now);
        let settled = !matches!(now, Leadership::Leader { ready: false, .. });
        tokio::select! {
            () = stop.cancelled() => break,
            changed = metrics.changed() => if changed.is_err() { break },
            // What is applied matters only until the leader is ready.
            changed = applied.changed(), if !settled => if changed.is_err() { break },
        }
    }
    told.send_replace(Leadership::Follower { leader: None });
}
