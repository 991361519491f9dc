//! `make bench-boot`: what Chronovisor adds to a hypervisor's own start. Starts a VM by a command, from the answer to the
//! hypervisor's word that it runs, and the same hypervisor by hand, with the same arguments, by turns; prints the medians
//! and fails when the difference is 50 ms or more.
//!
//! It measures no guest: how long a kernel boots is the kernel's own business.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use chv_e2e::{Cluster, Guest, HostOptions, Options, PATIENCE, vms};
use chv_proto::client::Client;
use chv_proto::v1::{self, event_message::Event};
use clap::Parser;
use futures::StreamExt;
use prost::Message as _;

/// The most that Chronovisor may add.
const LIMIT: Duration = Duration::from_millis(50);

/// Compares starting a VM by a command with starting its hypervisor by hand.
#[derive(Debug, Parser)]
struct Args {
    /// How often each is measured.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(10..))]
    rounds: u32,
    /// The hypervisor: qemu-tcg or qemu-kvm.
    #[arg(long, default_value = "qemu-tcg")]
    hypervisor: String,
}

/// One start by a command.
struct Started {
    /// From the acknowledgement until the event that it runs was heard.
    heard: Duration,
    /// From the host's first step to the hypervisor's word, as the host measured it.
    host: Duration,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-boot: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<()> {
    let host = HostOptions {
        hypervisors: vec![args.hypervisor.clone()],
        ..HostOptions::emulated("h1")
    };
    let options = Options {
        hosts: vec![host],
        ..Options::default()
    };
    Cluster::run(options, async |cluster| {
        let client = cluster.client("alice").await?;
        let mut started = Vec::new();
        let mut by_hand = Vec::new();
        // The first round warms the page cache up, and is not counted.
        for round in 0..=args.rounds {
            let (start, guest) = by_command(cluster, &client, &format!("vm-{round}")).await?;
            let directory = cluster.directory().join(format!("by-hand-{round}"));
            let hand = tokio::task::spawn_blocking(move || launch_by_hand(&guest, &directory)).await??;
            if round > 0 {
                started.push(start);
                by_hand.push(hand);
            }
        }
        report(&args, &started, &by_hand)
    })
    .await
}

/// Creates a VM, waits for the event that it runs, and removes it.
async fn by_command(cluster: &mut Cluster, client: &Client, name: &str) -> Result<(Started, Guest)> {
    let mut events = client.nats().subscribe("chv.evt.vm.*.*.started").await?;
    client.nats().flush().await?;
    let accepted = vms::submit(client, vms::create(name, vms::uos(), true), PATIENCE).await?;
    let acknowledged = Instant::now();
    let event = tokio::time::timeout(PATIENCE, events.next()).await?;
    let heard = acknowledged.elapsed();
    let event = v1::EventMessage::decode(event.context("the subscription ended")?.payload)?;
    let Some(Event::VmStarted(event)) = event.event else {
        bail!("that is another event: {event:?}")
    };
    ensure!(event.vm == accepted.vm, "another VM was started");
    let guest = cluster.guests().pop().context("its hypervisor runs")?;
    let delete = chv_domain::Command::DeleteVm {
        vm: vms::by_name(name),
        force: true,
        keep: None,
    };
    vms::submit(client, delete, PATIENCE).await?;
    cluster.wait_until_gone(name).await?;
    let host = Duration::from_micros(event.took_us);
    Ok((Started { heard, host }, guest))
}

/// Starts what ran `guest` again, in a directory of its own; the time until it says that it runs.
fn launch_by_hand(guest: &Guest, directory: &Path) -> Result<Duration> {
    let (name, args) = guest.command_line.split_first().context("a process has a name")?;
    std::fs::create_dir(directory)?;
    let listener = UnixListener::bind(directory.join("qmp.sock"))?;
    let connection = UnixStream::connect(directory.join("qmp.sock"))?;
    // SAFETY: takes no pointers. The copy stays open when another program starts, which is what it is for.
    let inherited = unsafe { libc::dup(listener.as_raw_fd()) };
    ensure!(inherited >= 0, "{}", std::io::Error::last_os_error());
    let args: Vec<String> = args.iter().map(|arg| with_descriptor(arg, inherited)).collect();
    let mut command = Command::new("qemu-system-x86_64");
    command
        .arg0(name)
        .args(args)
        .current_dir(directory)
        .env(
            "CHV_RIG",
            directory.parent().and_then(Path::file_name).unwrap_or_default(),
        )
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let began = Instant::now();
    let mut process = command.spawn().context("can't start QEMU")?;
    let took = runs(&connection).map(|()| began.elapsed());
    // SAFETY: takes no pointers; nothing else uses this descriptor.
    unsafe { libc::close(inherited) };
    process.kill()?;
    process.wait()?;
    took.context("QEMU, started by hand, does not say that it runs")
}

/// The argument with the control socket's descriptor replaced.
fn with_descriptor(arg: &str, descriptor: i32) -> String {
    let replace = |part: &str| match part.starts_with("fd=") {
        true => format!("fd={descriptor}"),
        false => part.to_owned(),
    };
    match arg.starts_with("socket,id=qmp,") {
        true => arg.split(',').map(replace).collect::<Vec<_>>().join(","),
        false => arg.to_owned(),
    }
}

/// Speaks QMP until the machine is said to run.
fn runs(connection: &UnixStream) -> Result<()> {
    connection.set_read_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(connection).lines();
    let mut next = || -> Result<serde_json::Value> {
        let line = lines.next().context("it hangs up")??;
        Ok(serde_json::from_str(&line)?)
    };
    let mut ask = connection;
    ask.write_all(b"{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"query-status\"}\n")?;
    loop {
        let answer = next()?;
        if answer["return"]["status"] == "running" {
            return Ok(());
        }
        if answer["return"]["status"].is_string() {
            ask.write_all(b"{\"execute\":\"query-status\"}\n")?;
        }
    }
}

fn report(args: &Args, started: &[Started], by_hand: &[Duration]) -> Result<()> {
    let heard = median(started.iter().map(|start| start.heard));
    let host = median(started.iter().map(|start| start.host));
    let hand = median(by_hand.iter().copied());
    let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
    let difference = ms(heard) - ms(hand);
    println!("{}, medians of {} starts each", args.hypervisor, args.rounds);
    println!(
        "  by hand: from the start of the process to its word that it runs   {:7.1} ms",
        ms(hand)
    );
    println!(
        "  by chv: the same, with what the host does before, as it measures  {:7.1} ms",
        ms(host)
    );
    println!(
        "  by chv: from the acknowledged command to the event that it runs   {:7.1} ms",
        ms(heard)
    );
    println!(
        "  Chronovisor adds {difference:.1} ms, which makes it {:.2} times as long",
        ms(heard) / ms(hand)
    );
    ensure!(
        difference < ms(LIMIT),
        "that is not less than the {LIMIT:?} that it may add"
    );
    Ok(())
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
