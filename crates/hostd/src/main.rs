//! `chv-hostd`: the daemon of one host, and a check of what that host can do.

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use chv_domain::{HostName, HypervisorKind, Memory};
use chv_hostd::check;
use chv_hostd::daemon::{self, Config};
use chv_hostd::facts::Offer;
use chv_hostd::lease::guard::{self, Shared};
use chv_hostd::probe::{Freshness, ProbeReport, probe};
use chv_hostd::wall::{self, UidRange, Walls};
use chv_proto::client::ConnectOptions;
use chv_proto::subject;
use chv_telemetry::Verbosity;
use clap::{Args, Parser, Subcommand, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long one try to reach NATS may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Runs one host's virtual machines as the cluster's log wants them.
#[derive(Debug, Parser)]
#[command(name = "chv-hostd", version)]
struct Cli {
    /// Say more on standard error; twice for even more.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon. When it ends, guests run on.
    Run(Box<Run>),
    /// Tell which hypervisors run guests on this host, by booting one with each. Fails when none does.
    Check(Check),
    /// End the guests that run under this host's lease once it has ended. The daemon starts this by itself.
    #[command(hide = true)]
    Guard(Guard),
}

#[derive(Debug, Args)]
struct Guard {
    /// The daemon's directory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The daemon's process.
    #[arg(long, value_name = "PID")]
    daemon: u32,
}

#[derive(Debug, Args)]
struct Run {
    /// The host's name in the cluster: a DNS label.
    #[arg(long, env = "CHV_HOST_NAME")]
    name: HostName,
    /// The daemon's own directory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The directory where VMs' relative paths begin; with the probe guest in uos/.
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// Where NATS is.
    #[arg(
        long,
        value_name = "URL",
        env = "CHV_NATS_URL",
        default_value = "nats://127.0.0.1:4222"
    )]
    nats: String,
    /// The NATS user; host-<name> when not given.
    #[arg(long, env = "CHV_NATS_USER")]
    user: Option<String>,
    /// Its password.
    #[arg(long, env = "CHV_NATS_PASSWORD", hide_env_values = true)]
    password: String,
    /// The virtual CPUs to offer, instead of four for each core.
    #[arg(long, value_name = "N")]
    offer_vcpus: Option<u32>,
    /// The memory to offer, such as 8GiB, instead of all but 512MiB.
    #[arg(long, value_name = "SIZE")]
    offer_memory: Option<Memory>,
    /// Another directory that VMs' files may be in; may be given several times.
    #[arg(long, value_name = "DIR")]
    allow_path: Vec<PathBuf>,
    /// The hypervisors that may be used, instead of all: cloud-hypervisor, qemu-kvm, firecracker, qemu-tcg.
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    hypervisor: Vec<HypervisorKind>,
    /// How many guests may be started at once, instead of one for each core; more wait, the higher startPriority first.
    #[arg(long, value_name = "N")]
    starts_at_once: Option<NonZeroUsize>,
    /// The users that VMs' processes may be, one for each VM; they must be nobody's else.
    #[arg(long, value_name = "FIRST-LAST", default_value_t)]
    vm_uids: UidRange,
    /// The cgroup (v2) that VMs' cgroups are made in, as a path beneath /sys/fs/cgroup; the daemon's own when not given.
    #[arg(long, value_name = "DIR")]
    cgroup: Option<PathBuf>,
    /// Refuse to run where VMs' processes can't be kept apart in every way.
    #[arg(long)]
    require_walls: bool,
}

#[derive(Debug, Args)]
struct Check {
    /// The image directory, with the probe guest in uos/.
    #[arg(long, value_name = "DIR", default_value = "images")]
    images: PathBuf,
    /// How to print what was found.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

fn main() -> ExitCode {
    // Before anything has a thread: what it does is for a process of one.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == wall::LAUNCH)
    {
        return wall::launcher::main();
    }
    let cli = Cli::parse();
    let quiet = match &cli.command {
        Command::Run(_) => Verbosity::Info,
        Command::Check(_) | Command::Guard(_) => Verbosity::Warn,
    };
    let _telemetry = chv_telemetry::init("chv-hostd", quiet.raised_by(cli.verbose));
    if let Command::Guard(args) = &cli.command {
        return stand_guard(args);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("chv-hostd: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        match cli.command {
            Command::Run(run) => daemon(*run).await.map(|()| ExitCode::SUCCESS),
            Command::Check(check) => check_host(check).await,
            Command::Guard(args) => Ok(stand_guard(&args)),
        }
    });
    // What still blocks a thread keeps nobody from ending.
    runtime.shutdown_timeout(Duration::from_secs(1));
    done.unwrap_or_else(|error| {
        eprintln!("chv-hostd: {error:#}");
        ExitCode::FAILURE
    })
}

fn stand_guard(args: &Guard) -> ExitCode {
    let shared = Shared {
        data: args.data.clone(),
        vms: args.data.join("vms"),
    };
    match guard::run(&shared, args.daemon) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chv-hostd guard: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Lets this process open as many files as it may: each VM takes some.
fn raise_open_files() -> std::io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    )?)
}

async fn daemon(run: Run) -> anyhow::Result<()> {
    if let Err(error) = raise_open_files() {
        tracing::warn!(%error, "the limit on open files stays as it is: many VMs may not fit");
    }
    let stop = CancellationToken::new();
    let (mut terminated, mut interrupted) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let user = run.user.unwrap_or_else(|| subject::host_user(&run.name));
    let config = Config {
        nats: ConnectOptions {
            url: run.nats,
            user,
            password: run.password,
            name: format!("chv-hostd {}", run.name),
            connect_timeout: CONNECT_LIMIT,
        },
        name: run.name,
        data: run.data,
        images: run.images,
        allowed: run.allow_path,
        offer: Offer {
            vcpus: run.offer_vcpus,
            memory: run.offer_memory,
        },
        hypervisors: run.hypervisor,
        starts_at_once: run.starts_at_once,
        walls: wall::Options {
            uids: run.vm_uids,
            cgroup: run.cgroup,
        },
        walls_required: run.require_walls,
    };
    let running = daemon::run(config, stop.clone());
    tokio::pin!(running);
    tokio::select! {
        done = &mut running => return Ok(done?),
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
    }
    stop.cancel();
    Ok(running.await?)
}

async fn check_host(check: Check) -> anyhow::Result<ExitCode> {
    let (mut terminated, mut interrupted) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let dir = OwnDir::new()?;
    let images = std::path::absolute(&check.images).context("--images")?;
    let guest = daemon::probe_guest(&images);
    let cache = dir.0.join("probe.json");
    let trial = dir.0.join("trial");
    let walls = tokio::task::spawn_blocking(move || Walls::for_check(&trial)).await?;
    // Dropped, a probe ends its guests; the directory goes after them, and their cgroups after it, when nobody waits for
    // their ends any more.
    let dir = dir;
    let probed = tokio::select! {
        probed = probe(&HypervisorKind::ALL, &guest, &dir.0, &cache, Freshness::Afresh, &walls) => probed,
        _ = terminated.recv() => anyhow::bail!("terminated"),
        _ = interrupted.recv() => anyhow::bail!("interrupted"),
    };
    drop(dir);
    let reports: Vec<ProbeReport> = probed.into_iter().map(|probed| probed.report).collect();
    let text = match check.output {
        Output::Table => check::table(&reports),
        Output::Json => serde_json::to_string_pretty(&reports)? + "\n",
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(if check::any_runs(&reports) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// How long the ends of guests may take to be noted in it.
const NOTED: Duration = Duration::from_secs(2);

/// A directory of this check's own; removed on every way out.
struct OwnDir(PathBuf);

impl OwnDir {
    fn new() -> anyhow::Result<Self> {
        let dir = std::env::temp_dir().join(format!("chv-check-{}", std::process::id()));
        std::fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
        Ok(Self(dir))
    }
}

impl Drop for OwnDir {
    fn drop(&mut self) {
        let until = Instant::now() + NOTED;
        while let Err(error) = std::fs::remove_dir_all(&self.0) {
            if Instant::now() >= until {
                eprintln!("chv-hostd: {}: {error}; remove it", self.0.display());
                return;
            }
            std::thread::sleep(NOTED / 200);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_soft_limit_on_open_files_then_it_is_raised_to_the_hard_one() {
        raise_open_files().unwrap();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
