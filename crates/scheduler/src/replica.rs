//! One replica put together: its log, its connection, and the tasks that run for as long as it does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use chv_domain::{LeaseDuration, ReplicaId};
use chv_eventlog::{Config, EventLog, OpenError, Outdated, PeerSecurity, Unwelcome};
use chv_proto::client::{Client, ConnectError, ConnectOptions};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::connection::{Connection, SubscribeError};
use crate::liveness::{self, Liveness};
use crate::query::{self, Reader};
use crate::{lead, slice};

/// Between two tries to reach the broker at the start.
const RECONNECT: Duration = Duration::from_secs(1);

/// What a replica is started with.
pub struct ReplicaConfig {
    /// Its data directory, made by [`EventLog::init`].
    pub data: PathBuf,
    /// Where the other replicas reach it.
    pub listen: SocketAddr,
    /// Every replica of the cluster with its address, this one's included.
    pub peers: BTreeMap<ReplicaId, SocketAddr>,
    /// How replicas know each other.
    pub security: PeerSecurity,
    /// Whether it may form the cluster when none of them has a log yet.
    pub bootstrap: bool,
    /// The broker.
    pub broker: ConnectOptions,
    /// How long a lease it grants to hosts.
    pub lease: LeaseDuration,
}

/// Why a replica does not start, or can't go on.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// The address is taken, or not this machine's.
    #[error("can't listen on {address} for the other replicas: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The log does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The broker is not reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The broker's client does not take a subscription.
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
    /// Another replica writes what this version does not know.
    #[error(transparent)]
    Outdated(#[from] Outdated),
    /// The other replicas talk with this one no more.
    #[error(transparent)]
    Unwelcome(#[from] Unwelcome),
    /// The log can't go on: what is on the disk is unknown.
    #[error("the log can't go on, so this replica ends; restart it once the disk is well: {0}")]
    Log(String),
}

/// A running replica.
pub struct Replica {
    reader: Reader,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Replica {
    /// Opens the log, connects, and starts to serve: it can answer queries when this returns. Waits for a
    /// broker that is away.
    pub async fn start(config: ReplicaConfig) -> Result<Self, ReplicaError> {
        let listener = TcpListener::bind(config.listen)
            .await
            .map_err(|source| ReplicaError::Listen {
                address: config.listen,
                source,
            })?;
        let log_config = Config::new(config.data, listener, config.peers, config.security);
        let log = EventLog::open(Config {
            bootstrap: config.bootstrap,
            ..log_config
        })
        .await?;
        let connection = Connection::new(connect(config.broker, &log).await?);
        let (replica, cluster) = (log.replica(), log.cluster());
        let reader = Reader {
            connection,
            log,
            liveness: Liveness::default(),
            replica,
            cluster,
            lease: config.lease,
        };
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        info!(%replica, %cluster, "started");
        let replica = Self { reader, stop, tasks };
        replica.serve(
            "heartbeats",
            liveness::listen(replica.reader.clone(), replica.stop.clone()),
        );
        replica.serve(
            "queries",
            query::answer_as_replica(replica.reader.clone(), replica.stop.clone()),
        );
        replica.serve(
            "slices",
            slice::answer(replica.reader.clone(), replica.stop.clone()),
        );
        replica.tasks.spawn(lead::hand_over::tell_whether_able(
            replica.reader.clone(),
            replica.stop.clone(),
        ));
        replica.tasks.spawn(lead::whenever_elected(
            replica.reader.clone(),
            replica.stop.clone(),
        ));
        replica.tasks.close();
        Ok(replica)
    }

    fn serve(
        &self,
        what: &'static str,
        task: impl Future<Output = Result<(), SubscribeError>> + Send + 'static,
    ) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            if let Err(error) = task.await {
                error!(%error, "can't serve {what}");
            }
            // A replica that serves only half of what it should is worse than one that is restarted.
            stop.cancel();
        });
    }

    /// Serves until `shutdown` resolves or the log can't go on, then ends every task and closes the log.
    pub async fn serve_until(self, shutdown: impl Future<Output = ()>) -> Result<(), ReplicaError> {
        let (fatal, outdated) = (self.reader.log.fatal(), self.reader.log.outdated());
        let unwelcome = self.reader.log.unwelcome();
        let end = tokio::select! {
            () = shutdown => Ok(()),
            () = self.stop.cancelled() => Ok(()),
            reason = fatal => Err(ReplicaError::Log(reason)),
            outdated = outdated => Err(outdated.into()),
            unwelcome = unwelcome => Err(unwelcome.into()),
        };
        self.stop.cancel();
        self.tasks.wait().await;
        self.reader.log.shutdown().await;
        end
    }
}

/// Connects to the broker, however long it is away: meanwhile the replica takes part in its cluster, which
/// doesn't need the broker. A broker that refuses this user is another matter.
async fn connect(broker: ConnectOptions, log: &EventLog) -> Result<Client, ReplicaError> {
    let fatal = log.fatal();
    tokio::pin!(fatal);
    loop {
        match Client::connect(broker.clone()).await {
            Ok(client) => return Ok(client),
            Err(error @ ConnectError::Unreachable { .. }) => {
                warn!(%error, "the broker is away; trying again");
                tokio::select! {
                    reason = &mut fatal => return Err(ReplicaError::Log(reason)),
                    outdated = log.outdated() => return Err(outdated.into()),
                    unwelcome = log.unwelcome() => return Err(unwelcome.into()),
                    () = tokio::time::sleep(RECONNECT) => {}
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}
