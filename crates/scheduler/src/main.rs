//! `chv-scheduler`: one replica of Chronovisor's log, and the scheduler that leads when it is elected.

mod certs;
mod exit;
mod restore;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use chv_domain::{ClusterId, LeaseDuration, ReplicaId};
use chv_eventlog::{ClusterSecret, EventLog, PeerSecurity, TlsFiles};
use chv_proto::client::ConnectOptions;
use chv_scheduler::{Replica, ReplicaConfig};
use chv_telemetry::Verbosity;
use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::Exit;

/// A replica allocates much that it lets go of soon, on several threads at once. glibc gives such memory back to the
/// system and asks for it again, which took a third of a loaded leader's time; see docs/performance.md.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// One replica of Chronovisor's event log, and the scheduler that decides when it is elected.
#[derive(Parser)]
#[command(name = "chv-scheduler", version)]
struct Cli {
    /// Say more; twice for even more.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a replica's data directory. Once for each replica: one that lost its directory must not come
    /// back under its old number.
    Init(Init),
    /// Make certificates for replicas, for those who have no authority of their own.
    #[command(subcommand)]
    Certs(certs::Certs),
    /// Make the data directory of a cluster's one replica out of an archive, checking all of it.
    Restore(restore::RestoreArgs),
    /// Run a replica.
    Run(Box<Run>),
}

#[derive(Args)]
struct Init {
    /// The data directory; must be empty or not there yet.
    #[arg(long)]
    data: PathBuf,
    /// The cluster's id, a ULID, the same for all of its replicas.
    #[arg(long)]
    cluster: ClusterId,
    /// This replica's number, from 1.
    #[arg(long)]
    replica: ReplicaId,
}

#[derive(Args)]
struct Run {
    /// The data directory, made by `init`.
    #[arg(long)]
    data: PathBuf,
    /// Where the other replicas reach this one. Without certificates loopback only.
    #[arg(long)]
    listen: SocketAddr,
    /// To form the cluster, every replica's number and address: 1=127.0.0.1:7101,2=127.0.0.1:7102,3=127.0.0.1:7103.
    /// Later the log says who the others are; a new replica is told with `chv cluster add-replica`.
    #[arg(long, value_delimiter = ',', value_parser = peer)]
    peers: Vec<(ReplicaId, SocketAddr)>,
    #[command(flatten)]
    security: Security,
    /// Form the cluster when no replica has a log yet. Give it to one replica, or to all.
    #[arg(long, requires = "peers")]
    bootstrap: bool,
    /// How long a host may run the VMs that ask for failover without hearing from the leader: 3s to 20s. The same for
    /// every replica.
    #[arg(long, value_name = "SECONDS", env = "CHV_HOST_LEASE", default_value_t)]
    lease: LeaseDuration,
    /// The broker's address.
    #[arg(long, env = "CHV_NATS_URL", default_value = "nats://127.0.0.1:4222")]
    nats: String,
    /// The broker's user for schedulers.
    #[arg(long, env = "CHV_NATS_USER", default_value = "scheduler")]
    user: String,
    /// That user's password; better in the environment than on the command line.
    #[arg(long, env = "CHV_NATS_PASSWORD", hide_env_values = true, default_value = "")]
    password: String,
}

/// How replicas know each other: certificates, or a secret on loopback.
#[derive(Args)]
#[group(skip)]
struct Security {
    /// This replica's certificate, made by `certs issue` or by an authority of yours. Read again when it changes.
    #[arg(long, value_name = "FILE", env = "CHV_RAFT_CERT", requires_all = ["raft_key", "raft_ca"],
        conflicts_with = "secret")]
    raft_cert: Option<PathBuf>,
    /// The private key of that certificate.
    #[arg(long, value_name = "FILE", env = "CHV_RAFT_KEY", requires = "raft_cert")]
    raft_key: Option<PathBuf>,
    /// The certificate of the authority that signs for the replicas of this cluster, or several.
    #[arg(long, value_name = "FILE", env = "CHV_RAFT_CA", requires = "raft_cert")]
    raft_ca: Option<PathBuf>,
    /// Instead of certificates, for replicas on one machine: what all of them know and nobody else, at least 16
    /// characters; better in the environment than on the command line.
    #[arg(long, env = "CHV_CLUSTER_SECRET", hide_env_values = true)]
    secret: Option<String>,
}

impl Security {
    fn take(self) -> anyhow::Result<PeerSecurity> {
        match (self.raft_cert, self.raft_key, self.raft_ca, self.secret) {
            (Some(cert), Some(key), Some(ca), None) => Ok(PeerSecurity::Tls(TlsFiles { cert, key, ca })),
            (None, None, None, Some(secret)) => {
                Ok(PeerSecurity::LoopbackSecret(ClusterSecret::new(&secret)?))
            }
            _ => anyhow::bail!(
                "replicas need certificates: give --raft-cert, --raft-key and --raft-ca (`chv-scheduler certs` makes \
                 them), or, on one machine, --secret alone"
            ),
        }
    }
}

fn peer(text: &str) -> Result<(ReplicaId, SocketAddr), String> {
    let (id, address) = text.split_once('=').ok_or("expected NUMBER=ADDRESS:PORT")?;
    let address = address.parse().map_err(|error| format!("{address:?}: {error}"))?;
    Ok((id.parse()?, address))
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let _telemetry = chv_telemetry::init("chv-scheduler", Verbosity::Info.raised_by(cli.verbose));
    let done = match cli.command {
        Command::Init(args) => init(&args),
        Command::Certs(certs) => certs.run(),
        Command::Restore(args) => args.run(),
        Command::Run(args) => run(*args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            Exit::of(&error).into()
        }
    }
}

/// How many threads run the replica's tasks. A commit goes from task to task, and most of them wait for the one before:
/// more threads wake each other more often than they work at the same time. What computes for long has its own.
fn workers() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    (processors / 2).clamp(1, 4)
}

fn init(args: &Init) -> anyhow::Result<()> {
    EventLog::init(&args.data, args.cluster, args.replica)?;
    println!(
        "{} is replica {} of cluster {}",
        args.data.display(),
        args.replica,
        args.cluster
    );
    Ok(())
}

fn run(args: Run) -> anyhow::Result<()> {
    let peers: BTreeMap<_, _> = args.peers.iter().copied().collect();
    anyhow::ensure!(peers.len() == args.peers.len(), "--peers names a replica twice");
    let config = ReplicaConfig {
        data: args.data,
        listen: args.listen,
        peers,
        security: args.security.take()?,
        bootstrap: args.bootstrap,
        lease: args.lease,
        broker: ConnectOptions {
            url: args.nats,
            user: args.user,
            password: args.password,
            name: "chv-scheduler".to_owned(),
            connect_timeout: Duration::from_secs(10),
        },
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers())
        .enable_all()
        .build()
        .context("can't start the async runtime")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let asked_to_end = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        tokio::pin!(asked_to_end);
        let replica = tokio::select! {
            replica = Replica::start(config) => replica?,
            () = &mut asked_to_end => return Ok(()),
        };
        replica.serve_until(asked_to_end).await?;
        anyhow::Ok(())
    })
}
