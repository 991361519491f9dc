//! How long a replica takes from its start to serving reads, with many events behind it.
//!
//! `restart fill DIR [EVENTS]` makes a replica with that many events, a million when not said, about 10,000 hosts, and
//! ends without shutting down, as a killed process does. `restart open DIR` opens it and says how long that took.
//! Build it with `--release`.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use chv_domain::*;
use chv_eventlog::{ClusterSecret, Config, EventLog, Leadership, PeerSecurity};
use tokio::net::TcpListener;

const HOSTS: u64 = 10_000;
const BATCH: u64 = 256;
/// From one event to the next, by their times: a million are some hours.
const MILLIS: u64 = 10;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["fill", dir] => fill(Path::new(dir), 1_000_000).await,
        ["fill", dir, events] => fill(Path::new(dir), events.parse()?).await,
        ["open", dir] => measure(Path::new(dir)).await,
        _ => Err("say `fill DIR [EVENTS]` or `open DIR`".into()),
    }
}

async fn open(dir: &Path) -> Result<EventLog, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let replica = ReplicaId::new(1).ok_or("an id")?;
    let peers = BTreeMap::from([(replica, listener.local_addr()?)]);
    let secret = ClusterSecret::new("a secret of the measurement")?;
    let config = Config {
        bootstrap: true,
        ..Config::new(
            dir.to_owned(),
            listener,
            peers,
            PeerSecurity::LoopbackSecret(secret),
        )
    };
    Ok(EventLog::open(config).await?)
}

async fn fill(dir: &Path, events: u64) -> Result<(), Box<dyn Error>> {
    let replica = ReplicaId::new(1).ok_or("an id")?;
    EventLog::init(dir, ClusterId::from_bytes([1; 16]), replica)?;
    let log = open(dir).await?;
    let mut leads = log.leadership();
    let ready = leads.wait_for(|now| matches!(now, Leadership::Leader { ready: true, .. }));
    let Leadership::Leader { term, .. } = *ready.await? else {
        return Err("it does not lead".into());
    };
    let start = Instant::now();
    let mut state = log.projection();
    while state.seq().0 < events {
        log.append(batch(&state, term)).await?;
        state = log.projection();
    }
    println!(
        "{} events in {:?}; digest {}",
        state.seq(),
        start.elapsed(),
        state.digest()
    );
    // What is looked after in the background gets a moment, as it would in hours.
    tokio::time::sleep(Duration::from_secs(20)).await;
    std::process::exit(0);
}

fn batch(state: &Projection, term: Term) -> Batch {
    let (mut first, mut prev) = (state.seq().next(), state.hash());
    let mut records = Vec::new();
    for _ in 0..BATCH {
        let (host, millis) = (first.0 % HOSTS, first.0 * MILLIS);
        let id = HostId::from_bytes(u128::from(host + 1).to_be_bytes());
        let event = match first.0 {
            number if number < HOSTS => registered(id, host),
            number if (number / HOSTS).is_multiple_of(2) => Event::HostUncordoned { host: id },
            _ => Event::HostCordoned { host: id },
        };
        let record = Record::new(RecordBody {
            first,
            term,
            time: Timestamp::from_millis(millis),
            actor: "measuring".parse().expect("a name"),
            cause: Cause {
                command: CommandId::from_bytes(
                    ((u128::from(millis) << 80) | u128::from(first.0)).to_be_bytes(),
                ),
                verb: Verb::HostCordon,
                follows: None,
            },
            trace: None,
            prev,
            events: vec![event],
        });
        (first, prev) = (record.last().next(), record.hash());
        records.push(record);
    }
    Batch {
        published: Seq::ZERO,
        records,
    }
}

fn registered(host: HostId, number: u64) -> Event {
    Event::HostRegistered {
        host,
        name: format!("host-{number}").parse().expect("a name"),
        facts: HostFacts {
            capacity: Capacity {
                vcpus: 64,
                memory_mib: 262_144,
            },
            hypervisors: vec![],
            daemon: "chv-hostd 0.1.0".to_owned(),
        },
    }
}

async fn measure(dir: &Path) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let log = open(dir).await?;
    let opened = start.elapsed();
    // What was applied before the end is noted, and applied again before it is served.
    log.settled().await;
    let served = start.elapsed();
    let (state, read) = (log.projection(), Instant::now());
    let records = log.read(Seq(1), 100, 1 << 20).await?;
    println!(
        "open {opened:?}, serving event {} after {served:?}; {} records from event 1 in {:?}; digest {}",
        state.seq(),
        records.len(),
        read.elapsed(),
        state.digest()
    );
    log.shutdown().await;
    Ok(())
}
