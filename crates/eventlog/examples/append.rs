//! How long an append takes and how many records a second go through: three replicas in one process, over
//! loopback, on the disk of the directory given (or the temporary one). `cargo run --release --example append`.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::{Duration, Instant};

use chv_domain::*;
use chv_eventlog::{ClusterSecret, Config, EventLog, Leadership, PeerSecurity};
use tokio::net::TcpListener;

const WARM_UP: usize = 100;
const SINGLE: usize = 1_000;
const BATCHES: usize = 100;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let place = std::env::args_os()
        .nth(1)
        .unwrap_or_else(|| std::env::temp_dir().into_os_string());
    let temp = tempfile::tempdir_in(place)?;
    let logs = start(temp.path()).await?;
    let (log, term) = leader(&logs).await?;
    let mut number = 0;

    measure(&log, term, &mut number, WARM_UP, 1).await?;
    for (appends, records) in [(SINGLE, 1), (BATCHES, 256), (BATCHES, 1024)] {
        let (size, mut took) = measure(&log, term, &mut number, appends, records).await?;
        let total: Duration = took.iter().sum();
        took.sort_unstable();
        println!(
            "{appends} appends of {records} records, {size} bytes an entry, one at a time: p50 {:?}, p99 {:?}, \
             {:.0} records/s",
            took[took.len() / 2],
            took[took.len() * 99 / 100],
            (appends * records) as f64 / total.as_secs_f64()
        );
    }
    for log in logs {
        log.shutdown().await;
    }
    Ok(())
}

async fn start(dir: &std::path::Path) -> Result<Vec<EventLog>, Box<dyn Error>> {
    let (mut listeners, mut peers) = (Vec::new(), BTreeMap::new());
    for id in (1..=3).filter_map(ReplicaId::new) {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        peers.insert(id, listener.local_addr()?);
        listeners.push((id, listener));
    }
    let mut logs = Vec::new();
    for (id, listener) in listeners {
        let dir = dir.join(id.to_string());
        EventLog::init(&dir, ClusterId::from_bytes([1; 16]), id)?;
        let config = Config {
            bootstrap: true,
            ..Config::new(dir, listener, peers.clone(), secret())
        };
        logs.push(EventLog::open(config).await?);
    }
    Ok(logs)
}

/// A replica that leads, once the elections after the start are over.
async fn leader(logs: &[EventLog]) -> Result<(EventLog, Term), Box<dyn Error>> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        for log in logs {
            let leads = *log.leadership().borrow();
            if let Leadership::Leader { term, ready: true } = leads
                && log.confirm_leadership().await.is_ok()
            {
                return Ok((log.clone(), term));
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err("nobody leads".into())
}

/// The size of an entry's batch, and how long each append took.
async fn measure(
    log: &EventLog,
    term: Term,
    number: &mut u64,
    appends: usize,
    records: usize,
) -> Result<(usize, Vec<Duration>), Box<dyn Error>> {
    let (mut size, mut took) = (0, Vec::new());
    for _ in 0..appends {
        let batch = batch(&log.projection(), term, number, records)?;
        size = stored::encode(&batch)?.len();
        let start = Instant::now();
        match log.append(batch).await? {
            BatchOutcome::Applied { .. } => took.push(start.elapsed()),
            BatchOutcome::Dropped => return Err("the leader changed; run it again".into()),
        }
    }
    Ok((size, took))
}

fn batch(state: &Projection, term: Term, number: &mut u64, count: usize) -> Result<Batch, Box<dyn Error>> {
    let actor: Actor = "measuring".parse()?;
    let (mut first, mut prev) = (state.seq().next(), state.hash());
    let mut records = Vec::with_capacity(count);
    for _ in 0..count {
        *number += 1;
        let record = Record::new(RecordBody {
            first,
            term,
            time: Timestamp(*number),
            actor: actor.clone(),
            cause: Cause {
                command: CommandId::from_bytes(u128::from(*number).to_be_bytes()),
                verb: Verb::HostCordon,
                follows: None,
            },
            trace: None,
            prev,
            events: vec![Event::VmBlocked {
                vm: VmId::from_bytes(u128::from(*number).to_be_bytes()),
                epoch: Epoch(Seq(1)),
                // Makes the record 300 bytes.
                reason: "x".repeat(52),
            }],
        });
        (first, prev) = (record.last().next(), record.hash());
        records.push(record);
    }
    Ok(Batch {
        published: Seq::ZERO,
        records,
    })
}

fn secret() -> PeerSecurity {
    let secret = ClusterSecret::new("a secret of the tests").expect("it is long enough");
    PeerSecurity::LoopbackSecret(secret)
}
