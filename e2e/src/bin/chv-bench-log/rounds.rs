//! The order of a run: in each round every system is started anew, loaded at each point, looked at and ended.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chv_e2e::find_program;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::args::Args;
use crate::plan::{Kind, Measured, Plan, Work};
use crate::process::{disk_usage, machine, processor_time, resident};
use crate::results::{Cost, Results, Round, Sample};
use crate::stages;
use crate::systems::{Running, System};

/// Answers of this time at first are not counted: connections are made and caches filled.
const WARM_UP: Duration = Duration::from_secs(1);

/// How many commands a second there are while a subscriber is measured.
const OPEN_PER_SECOND: u32 = 1_000;

/// How long the clients may take beyond what they are told to measure.
const PATIENCE: Duration = Duration::from_secs(60);

/// Does all rounds.
pub(crate) async fn run(args: &Args) -> Result<Results> {
    let nats_server = &args.nats_server;
    ensure!(
        nats_server.is_file(),
        "there is no {}: `make bench` fetches it",
        nats_server.display()
    );
    let nats_server = nats_server.canonicalize()?;
    std::fs::create_dir_all(&args.directory)?;
    let parent = args.directory.canonicalize()?;
    find_program("chv-scheduler")?;
    let mut rounds = Vec::new();
    for round in 1..=args.rounds() {
        for system in args.systems() {
            eprintln!("round {round} of {}: {system}", args.rounds());
            rounds.push(one_round(args, system, &parent, &nats_server).await?);
        }
    }
    let machine = machine()?;
    Ok(Results::of(
        machine,
        args.rounds(),
        args.measured(),
        args.systems(),
        &rounds,
    ))
}

async fn one_round(args: &Args, system: System, parent: &Path, nats_server: &Path) -> Result<Round> {
    let running = system.start(parent, nats_server, args.peering()).await?;
    if args.point.is_some() {
        for server in &running.servers {
            eprintln!("  {:22} pid {}", server.name, server.pid);
        }
    }
    let loaded = load(args, system, &running).await;
    loaded.map_err(|error| running.with_logs(&error))
}

async fn load(args: &Args, system: System, running: &Running) -> Result<Round> {
    let before = Footprint::of(running).await?;
    let mut round = Round::new(system);
    let kinds = args.kinds().into_iter().filter(|kind| system.takes(*kind));
    let mut works: Vec<Work> = kinds.map(Work::Closed).collect();
    if system == System::Chronovisor && args.point.is_none() {
        // Early, while there is little in the log.
        works.insert(
            1,
            Work::Open {
                per_second: OPEN_PER_SECOND,
            },
        );
    }
    let mut messages = 0;
    for (number, work) in (0..).zip(works) {
        let plan = Plan {
            target: running.target.clone(),
            work,
            number,
            warm_up: WARM_UP,
            measured: args.measured(),
        };
        let (measured, processor) = measure(&plan, running).await?;
        messages += measured.answered;
        let cpu_us = processor.as_secs_f64() * 1e6 / measured.answered.max(1) as f64;
        eprintln!("  {}", describe(work, &measured, cpu_us));
        match work {
            Work::Closed(kind) => round.samples.push(Sample {
                kind,
                measured,
                cpu_us,
            }),
            Work::Open { .. } => round.arrival = measured.arrival,
        }
    }
    let after = Footprint::of(running).await?;
    let keeps = running.servers.iter().any(|server| server.data.is_some());
    round.cost = keeps.then(|| after.since(&before, messages));
    round.stages = stages::of(&running.status().await?);
    Ok(round)
}

/// Runs the clients; what they measured, and the processor time of all servers meanwhile.
async fn measure(plan: &Plan, running: &Running) -> Result<(Measured, Duration)> {
    let pids: Vec<u32> = running.servers.iter().map(|server| server.pid).collect();
    let before = processor_time(&pids)?;
    let measured = clients(plan).await?;
    Ok((measured, processor_time(&pids)? - before))
}

async fn clients(plan: &Plan) -> Result<Measured> {
    let mut clients = Command::new(std::env::current_exe()?)
        .arg("load")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("can't start the clients")?;
    let mut told = clients.stdin.take().context("it is piped")?;
    told.write_all(&serde_json::to_vec(plan)?).await?;
    drop(told);
    let patience = plan.warm_up + plan.measured + PATIENCE;
    let ended = tokio::time::timeout(patience, clients.wait_with_output()).await;
    let output = ended.context("the clients do not end")??;
    ensure!(output.status.success(), "the clients fail");
    serde_json::from_slice(&output.stdout).context("the clients say what they measured")
}

fn describe(work: Work, measured: &Measured, cpu_us: f64) -> String {
    let what = match work {
        Work::Closed(Kind::Single { outstanding }) => format!("{outstanding} outstanding"),
        Work::Closed(Kind::Sixteen { outstanding }) => format!("16 to a message, {outstanding} outstanding"),
        Work::Open { per_second } => format!("{per_second} a second, with a subscriber"),
    };
    let (p50, p99) = (measured.latency.p50_us / 1e3, measured.latency.p99_us / 1e3);
    let busy = match measured.busy {
        0 => String::new(),
        busy => format!(", {busy} times busy"),
    };
    format!(
        "{what:36} {:>9.0}/s  p50 {p50:.3} ms  p99 {p99:.3} ms  {cpu_us:.0} us of processor each{busy}",
        measured.per_second
    )
}

/// What the servers hold at one moment.
struct Footprint {
    events: Option<u64>,
    disk: u64,
    /// The most that one server holds.
    memory: u64,
}

impl Footprint {
    async fn of(running: &Running) -> Result<Self> {
        let states = running.status().await?;
        let data: Vec<&PathBuf> = running
            .servers
            .iter()
            .filter_map(|server| server.data.as_ref())
            .collect();
        let disk: Result<u64> = data.iter().map(|data| disk_usage(data)).sum();
        let stateful = running.servers.iter().filter(|server| server.data.is_some());
        let memory: Result<Vec<u64>> = stateful.map(|server| resident(server.pid)).collect();
        Ok(Self {
            events: states.iter().map(|state| state.applied_seq).max(),
            disk: disk? / data.len().max(1) as u64,
            memory: memory?.into_iter().max().unwrap_or_default(),
        })
    }

    fn since(&self, before: &Self, messages: u64) -> Cost {
        let events = match (self.events, before.events) {
            (Some(now), Some(then)) => now - then,
            _ => messages,
        };
        Cost {
            events,
            events_a_command: events as f64 / messages.max(1) as f64,
            disk_bytes_an_event: self.disk.saturating_sub(before.disk) as f64 / events.max(1) as f64,
            memory_bytes_an_event: self.memory.saturating_sub(before.memory) as f64 / events.max(1) as f64,
        }
    }
}
