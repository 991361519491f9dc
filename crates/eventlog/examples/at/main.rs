//! How long a replica with many events behind it takes to serve reads after its start, and to say how things were at any
//! event or time.
//!
//! `at fill DIR [EVENTS]` makes such a replica, with a million events and 20,000 VMs when not said otherwise, and ends
//! without shutting down, as a killed process does. `at open DIR` opens it and says how long that took, then asks for the
//! state at 20 events and 20 times. Build it with `--release`.

mod load;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use chv_domain::*;
use chv_eventlog::{ClusterSecret, Config, EventLog, Leadership, PeerSecurity};
use tokio::net::TcpListener;

use load::Load;

const EVENTS: u64 = 1_000_000;
const BATCH: u64 = 256;
const ASKED: u64 = 20;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["fill", dir] => fill(Path::new(dir), EVENTS).await,
        ["fill", dir, events] => fill(Path::new(dir), events.parse()?).await,
        ["open", dir] => ask(Path::new(dir)).await,
        _ => Err("say `fill DIR [EVENTS]` or `open DIR`".into()),
    }
}

fn replica() -> Result<ReplicaId, &'static str> {
    ReplicaId::new(1).ok_or("an id")
}

async fn open(dir: &Path) -> Result<EventLog, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let peers = BTreeMap::from([(replica()?, listener.local_addr()?)]);
    let secret = ClusterSecret::new("a secret of the measurement")?;
    let security = PeerSecurity::LoopbackSecret(secret);
    let config = Config {
        bootstrap: true,
        ..Config::new(dir.to_owned(), listener, peers, security)
    };
    Ok(EventLog::open(config).await?)
}

async fn fill(dir: &Path, events: u64) -> Result<(), Box<dyn Error>> {
    EventLog::init(dir, ClusterId::from_bytes([1; 16]), replica()?)?;
    let log = open(dir).await?;
    let mut leads = log.leadership();
    let ready = leads.wait_for(|now| matches!(now, Leadership::Leader { ready: true, .. }));
    let Leadership::Leader { term, .. } = *ready.await? else {
        return Err("it does not lead".into());
    };
    let (start, mut load) = (Instant::now(), Load::new(term, replica()?));
    let mut state = log.projection();
    while state.seq().0 < events {
        log.append(load.batch(&state, BATCH)?).await?;
        state = log.projection();
    }
    println!(
        "{} events in {:?}; {} VMs; digest {}",
        state.seq(),
        start.elapsed(),
        state.vm_count(),
        state.digest()
    );
    // At once, as a killed process does: what is sealed and indexed in the background is not waited for.
    std::process::exit(0);
}

async fn ask(dir: &Path) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let log = open(dir).await?;
    let opened = start.elapsed();
    // What was applied before the end is noted, and applied again before it is served.
    log.settled().await;
    let (served, state) = (start.elapsed(), log.projection());
    println!(
        "open {opened:?}, serving event {} after {served:?}; digest {}",
        state.seq(),
        state.digest()
    );
    quiet(&log, dir).await?;
    let spread = |at: u64, of: u64| of / (ASKED + 1) * (at + 1) + at * 104_729 % (of / (ASKED + 1));
    let mut took = Vec::new();
    for at in shuffled() {
        let seq = Seq(spread(at, state.seq().0));
        let begin = Instant::now();
        let then = log.projection_at(seq).await?;
        took.push((begin.elapsed(), then.seq(), then.vm_count()));
    }
    report("events", took);
    // Another open, so that nothing is known from the questions before.
    log.shutdown().await;
    drop(log);
    let log = open(dir).await?;
    log.settled().await;
    let mut took = Vec::new();
    for at in shuffled() {
        let time = Timestamp(spread(at, state.time().0));
        let begin = Instant::now();
        let then = log.projection_at_time(time).await?;
        took.push((begin.elapsed(), then.seq(), then.vm_count()));
    }
    report("times", took);
    log.shutdown().await;
    Ok(())
}

/// Waits until what runs in the background has nothing left to do.
async fn quiet(log: &EventLog, dir: &Path) -> Result<(), Box<dyn Error>> {
    let (mut before, mut still) = (0, 0);
    while still < 3 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let size = du(dir)?;
        still = if size == before { still + 1 } else { 0 };
        before = size;
    }
    let index = log.status().index;
    let of = |suffix: &str| -> Result<(usize, u64), Box<dyn Error>> {
        let mut sizes = (0, 0);
        for entry in std::fs::read_dir(dir.join("history"))? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().ends_with(suffix) {
                sizes = (sizes.0 + 1, sizes.1 + entry.metadata()?.len());
            }
        }
        Ok(sizes)
    };
    println!(
        "at rest: {before} bytes in all; (files, bytes) of history {:?}, of checkpoints {:?}; index at {}",
        of(".history")?,
        of(".checkpoint")?,
        index.seq
    );
    Ok(())
}

fn du(dir: &Path) -> Result<u64, Box<dyn Error>> {
    let mut size = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        // What was listed may be gone: it is at work.
        let Ok(about) = entry.metadata() else { continue };
        size += if about.is_dir() {
            du(&entry.path())?
        } else {
            about.len()
        };
    }
    Ok(size)
}

/// Not in order, so that one question does not help the next.
fn shuffled() -> impl Iterator<Item = u64> {
    (0..ASKED).map(|at| at * 7 % ASKED)
}

fn report(of: &str, mut took: Vec<(Duration, Seq, usize)>) {
    took.sort_unstable();
    for (time, seq, vms) in &took {
        println!("  {time:?} for event {seq}, {vms} VMs");
    }
    let last = took.len() - 1;
    println!("{of}: p50 {:?}, worst {:?}", took[took.len() / 2].0, took[last].0);
}
