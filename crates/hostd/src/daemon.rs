//! The daemon: puts its parts together in the order in which they need one another, and takes them apart again.
//! Guests are found and looked after first, whether or not anything else can be reached.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chv_domain::{Capacity, HostFacts, HostId, HostName, HypervisorKind, VmId};
use chv_proto::client::{Client, ConnectError, ConnectOptions, new_command_id};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::console::{Consoles, trim};
use crate::converge::{Converge, Here, Hypervisors, Slots, host_is_busy};
use crate::data_dir::{DataDir, DataDirError};
use crate::facts::{self, Offer};
use crate::files::Files;
use crate::follow::Follower;
use crate::hypervisor;
use crate::leader::OverNats;
use crate::lease::Lease;
use crate::ledger::{Ledger, LedgerError};
use crate::probe::{Freshness, Outcome, ProbeGuest, Probed, probe};
use crate::report::Reporter;
use crate::stock::{self, StockError};
use crate::wall::{self, Walls};

/// Between two tries to reach NATS for the first time. Once reached, it is reached again by the client itself.
const CONNECT_AGAIN: Duration = Duration::from_secs(1);

/// Before the hypervisors of a host on which none runs guests are looked at again.
const PROBE_AGAIN: Duration = Duration::from_secs(300);

/// This program, also after it was replaced on the disk.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// How long tasks may take to end.
const END_LIMIT: Duration = Duration::from_secs(5);

/// What the daemon is told when it is started.
#[derive(Debug, Clone)]
pub struct Config {
    /// The host's name.
    pub name: HostName,
    /// The daemon's directory.
    pub data: PathBuf,
    /// Where VMs' relative paths begin, and where the probe guest is.
    pub images: PathBuf,
    /// Other directories that VMs' files may be in.
    pub allowed: Vec<PathBuf>,
    /// How to reach NATS.
    pub nats: ConnectOptions,
    /// What to offer instead of what is found.
    pub offer: Offer,
    /// The hypervisors that may be used; all, when there are none here.
    pub hypervisors: Vec<HypervisorKind>,
    /// How many guests may be started at once; one for each core when that is not said.
    pub starts_at_once: Option<NonZeroUsize>,
    /// What VMs' processes are put behind.
    pub walls: wall::Options,
    /// Whether nothing of that may be missing.
    pub walls_required: bool,
}

/// Why the daemon can't run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Its directory.
    #[error(transparent)]
    Data(#[from] DataDirError),
    /// Its ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// What is on the host can't be told.
    #[error(transparent)]
    Stock(#[from] StockError),
    /// Guests whose lease has ended are left.
    #[error("the guests that run under this host's lease: {0}")]
    Lease(std::io::Error),
    /// What the host has can't be told.
    #[error("what this host has can't be told: {0}")]
    Facts(std::io::Error),
    /// The image directory.
    #[error("the image directory {path}: {source}; make it, or name another one with --images")]
    Images {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A wall has a hole.
    #[error("this host can't keep VMs apart as --require-walls asks: {0}")]
    Walls(String),
    /// Nothing more is heard of what is wanted.
    #[error(
        "the connection to NATS is closed for good, or the feed can't be subscribed to; start chv-hostd again"
    )]
    NotFollowed,
    /// NATS can't be reached by any number of tries.
    #[error(transparent)]
    Nats(#[from] ConnectError),
    /// Something that may block failed to run.
    #[error("starting: {0}")]
    Starting(#[from] tokio::task::JoinError),
}

/// The guest that probes boot, from an image directory.
pub fn probe_guest(images: &Path) -> ProbeGuest {
    ProbeGuest {
        kernel: images.join("uos/vmlinuz"),
        initramfs: images.join("uos/initramfs.cpio"),
    }
}

/// Runs the daemon until `stop`. Guests run on.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), DaemonError> {
    let tasks = TaskTracker::new();
    // Whatever ends the daemon ends its tasks.
    let stop = stop.child_token();
    let _end = stop.clone().drop_guard();
    let done = start(&config, &tasks, &stop).await;
    stop.cancel();
    tasks.close();
    if tokio::time::timeout(END_LIMIT, tasks.wait()).await.is_err() {
        tracing::warn!("some tasks have not ended in time");
    }
    let ledger = done?;
    ledger.close().await?;
    tracing::info!("ended; guests run on");
    Ok(())
}

async fn start(
    config: &Config,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<Ledger, DaemonError> {
    let capacity = facts::capacity(config.offer).map_err(DaemonError::Facts)?;
    let (data, lease, ledger, files) = open(config).await?;
    let hypervisors = installed(&config.hypervisors, &data.kernels()).await;
    let id = data.host();
    let membership = data.membership()?;
    let clock = Clock::new();
    let walls = walls(config, &data, &ledger).await?;
    let stock = stock::take(&data, &ledger, clock).await?;
    tracing::info!(host = %config.name, %id, vms = stock.len(), "started");

    let (facts, facts_seen) = watch::channel(facts::facts(capacity, &[], &walls));
    let (connection, connected) = watch::channel(None);
    let leader = Arc::new(OverNats(connected));
    let (probe_cache, probes) = (data.probe_cache(), data.probes());
    let cores = facts::cores().map_err(DaemonError::Facts)?;
    let at_once = config.starts_at_once.map_or(cores, NonZeroUsize::get);
    let here = Arc::new(Here {
        data,
        ledger: ledger.clone(),
        files,
        clock,
        lease: lease.clone(),
        walls,
        hypervisors,
        facts: facts_seen.clone(),
        slots: Slots::new(at_once, host_is_busy),
    });
    let reporter = Reporter::new(config.name.clone(), leader.clone(), tasks.clone(), stop.clone());
    let converge = Converge::start(here.clone(), reporter, stock, tasks.clone(), stop.clone());

    tasks.spawn(lease.clone().keep(stop.clone()));
    tasks.spawn(trim::keep_short(converge.clone(), stop.clone()));
    let rest = async {
        let client = connect(&config.nats).await?;
        let consoles = Consoles::new(config.name.clone(), converge.clone());
        tasks.spawn(consoles.serve(client.nats().clone(), tasks.clone(), stop.clone()));
        let check = Check {
            config,
            capacity,
            cache: probe_cache,
            dir: probes,
            facts,
            walls: &here.walls,
        };
        check.once(Freshness::Kept).await;
        let follow = Follower {
            client,
            membership,
            connection,
            leader,
            name: config.name.clone(),
            id,
            facts: facts_seen,
            converge,
            ledger: ledger.clone(),
            lease,
        };
        tokio::select! {
            () = follow.run(stop.clone()) => {}
            () = async { check.until_one_runs().await; std::future::pending().await } => {}
        }
        if stop.is_cancelled() {
            Ok(())
        } else {
            Err(DaemonError::NotFollowed)
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        done = rest => done?,
    }
    Ok(ledger)
}

async fn open(config: &Config) -> Result<(DataDir, Arc<Lease>, Ledger, Files), DaemonError> {
    let config = config.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let images = config
            .images
            .canonicalize()
            .map_err(|source| DaemonError::Images {
                path: config.images.clone(),
                source,
            })?;
        let data = DataDir::open(&config.data, || HostId::from_ulid(new_command_id().ulid()))?;
        // Before anything else: guests may be left whose lease has ended while no daemon ran.
        let lease =
            Lease::begin(data.lease(), Some(PathBuf::from(OWN_PROGRAM))).map_err(DaemonError::Lease)?;
        let (ledger, damage) = Ledger::open(&data.ledger())?;
        if let Some(damage) = damage {
            tracing::error!(
                damage,
                "the ledger was damaged; it is put aside and built anew from what runs here"
            );
        }
        Ok((data, Arc::new(lease), ledger, Files::new(images, config.allowed)))
    });
    opened.await?
}

/// Finds out what this host can put VMs' processes behind, and says what is missing.
async fn walls(config: &Config, data: &DataDir, ledger: &Ledger) -> Result<Walls, DaemonError> {
    let (options, dir) = (config.walls.clone(), data.trial());
    let mut users = ledger.users()?;
    // A ledger that was lost is made up for by what is on the disk.
    let known: BTreeSet<VmId> = users.iter().map(|(vm, _)| *vm).collect();
    let vms = data.vms_on_disk().unwrap_or_default();
    let others = vms.into_iter().filter(|vm| !known.contains(vm));
    users.extend(others.filter_map(|vm| Some((vm, data.run_dir(vm).user()?))));
    let host = data.host().to_string();
    let walls = tokio::task::spawn_blocking(move || Walls::find(&options, users, &dir, &host)).await?;
    match walls.missing() {
        [] => {}
        missing if config.walls_required => return Err(DaemonError::Walls(missing.join("; "))),
        missing => tracing::warn!(
            ?missing,
            "VMs' processes are kept apart less well than they could be"
        ),
    }
    Ok(walls)
}

/// The drivers of what is installed, also of what may not be used: it may still run something.
async fn installed(allowed: &[HypervisorKind], kernels: &Path) -> Hypervisors {
    let kinds = HypervisorKind::ALL;
    let found = futures::future::join_all(kinds.map(|kind| hypervisor::find(kind, kernels))).await;
    if !allowed.is_empty() {
        tracing::info!(?allowed, "other hypervisors are not used");
    }
    found.into_iter().flatten().collect()
}

async fn connect(options: &ConnectOptions) -> Result<Client, ConnectError> {
    let mut told = false;
    loop {
        match Client::connect(options.clone()).await {
            Ok(client) => {
                tracing::info!(url = options.url, user = options.user, "connected to NATS");
                return Ok(client);
            }
            Err(error @ ConnectError::Url { .. }) => return Err(error),
            // Also when it is not let in: users come with the next configuration of the broker.
            Err(error) if !told => {
                tracing::warn!(%error, "not connected; tried again until it is");
                told = true;
            }
            Err(error) => tracing::debug!(%error, "not connected"),
        }
        tokio::time::sleep(CONNECT_AGAIN).await;
    }
}

/// Finds out which hypervisors run guests here, and says so.
struct Check<'a> {
    config: &'a Config,
    capacity: Capacity,
    cache: PathBuf,
    dir: PathBuf,
    facts: watch::Sender<HostFacts>,
    walls: &'a Walls,
}

impl Check<'_> {
    async fn once(&self, freshness: Freshness) {
        let guest = probe_guest(&self.config.images);
        let allowed = &self.config.hypervisors;
        let kinds: Vec<_> = HypervisorKind::ALL
            .into_iter()
            .filter(|kind| allowed.is_empty() || allowed.contains(kind))
            .collect();
        let probed = probe(&kinds, &guest, &self.dir, &self.cache, freshness, self.walls).await;
        say(&probed);
        self.facts
            .send_replace(facts::facts(self.capacity, &probed, self.walls));
    }

    /// A host on which nothing runs guests may be put right while it is up.
    async fn until_one_runs(&self) {
        while self.facts.borrow().hypervisors.is_empty() {
            tokio::time::sleep(PROBE_AGAIN).await;
            self.once(Freshness::Afresh).await;
        }
    }
}

fn say(probed: &[Probed]) {
    for Probed { report, .. } in probed {
        let kind = report.kind;
        match &report.outcome {
            Outcome::Runs { boot } => tracing::info!(%kind, ?boot, "runs guests here"),
            Outcome::Absent { why } => tracing::info!(%kind, why, "not installed"),
            Outcome::Fails { why } => tracing::warn!(%kind, why, "runs no guests here"),
        }
    }
    if probed.iter().all(|probed| probed.report.facts().is_none()) {
        tracing::error!(
            "no hypervisor runs guests here: no VM will be placed on this host; `chv-hostd check` says more"
        );
    }
}
