//! A replica that missed what the others' logs no longer hold: it gets a snapshot, over a link that breaks, and then
//! the history before it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chv_domain::*;
use tokio::net::TcpListener;

use crate::testing::{address, host, record};
use crate::{AppendError, Config, EventLog, Leadership, Limit, ReadError, Search, Timing};

pub(crate) const PATIENCE: Duration = Duration::from_secs(25);

pub(crate) type Peers = BTreeMap<ReplicaId, SocketAddr>;

pub(crate) fn id(number: u64) -> ReplicaId {
    ReplicaId::new(number).unwrap()
}

pub(crate) async fn open(dir: PathBuf, number: u64, peers: &Peers) -> EventLog {
    opened(dir, number, peers, true).await
}

/// As [`open`]; one that is not to form a cluster waits until it is added.
pub(crate) async fn opened(dir: PathBuf, number: u64, peers: &Peers, bootstrap: bool) -> EventLog {
    let listener = TcpListener::bind(peers[&id(number)]).await.unwrap();
    let timing = Timing {
        heartbeat: Duration::from_millis(100),
        election: Duration::from_millis(500),
    };
    EventLog::open(Config {
        bootstrap,
        timing,
        // Small, so that purging has whole files to delete.
        segment_size: 2048,
        snapshot_every: 10,
        sealing: crate::Sealing {
            file_events: 8,
            keep_log: 0,
            ..crate::Sealing::default()
        },
        verify_index_after: Duration::from_millis(100),
        ..Config::new(dir, listener, peers.clone(), secret())
    })
    .await
    .unwrap()
}

pub(crate) async fn start(temp: &Path) -> (Peers, BTreeMap<u64, EventLog>) {
    start_of(temp, 3).await
}

/// A cluster of so many replicas.
pub(crate) async fn start_of(temp: &Path, count: u64) -> (Peers, BTreeMap<u64, EventLog>) {
    let mut peers = Peers::new();
    for number in 1..=count {
        peers.insert(id(number), address());
    }
    let mut logs = BTreeMap::new();
    for number in 1..=count {
        let dir = temp.join(number.to_string());
        EventLog::init(&dir, ClusterId::from_bytes([9; 16]), id(number)).unwrap();
        logs.insert(number, open(dir, number, &peers).await);
    }
    (peers, logs)
}

pub(crate) async fn leader(logs: &BTreeMap<u64, EventLog>) -> u64 {
    let mut set = tokio::task::JoinSet::new();
    for (number, log) in logs {
        let (number, mut leadership) = (*number, log.leadership());
        set.spawn(async move {
            let ready = leadership.wait_for(|now| matches!(now, Leadership::Leader { ready: true, .. }));
            ready.await.map(|_| number).ok()
        });
    }
    let first = tokio::time::timeout(PATIENCE, set.join_next()).await;
    first.expect("nobody leads").unwrap().unwrap().unwrap()
}

/// Registers host `number` through whoever leads.
pub(crate) async fn register(logs: &BTreeMap<u64, EventLog>, number: u8) {
    let registered = async {
        // Elections may go on for a while after a start; a refusal appended nothing.
        while !try_register(&logs[&leader(logs).await], number).await {}
    };
    tokio::time::timeout(PATIENCE, registered)
        .await
        .expect("nobody takes it");
}

async fn try_register(log: &EventLog, number: u8) -> bool {
    let state = log.projection();
    let record = record(&state, log.status().term, number);
    // More than a host may say, so that few of them make a snapshot of some pieces.
    let mut events = record.events.clone();
    let Some(Event::HostRegistered { facts, .. }) = events.first_mut() else {
        panic!("another event than expected");
    };
    facts.daemon = noise(number);
    let record = Record::new(RecordBody {
        events,
        ..(*record).clone()
    });
    let last = record.last();
    let batch = Batch {
        published: Seq::ZERO,
        records: vec![record],
    };
    match log.append(batch).await {
        Ok(outcome) => outcome == BatchOutcome::Applied { last },
        Err(AppendError::NotLeader) => false,
        Err(error) => panic!("{error}"),
    }
}

/// 128 KiB that hardly compress.
fn noise(number: u8) -> String {
    let blocks = (0..2048_u32).map(|block| RecordHash::of(&[&[number], &block.to_le_bytes()[..]].concat()));
    blocks.map(|block| block.to_string()).collect()
}

pub(crate) async fn reach(log: &EventLog, seq: Seq) {
    let mut applied = log.applied();
    let reached = applied.wait_for(|applied| *applied >= seq);
    tokio::time::timeout(PATIENCE, reached)
        .await
        .expect("a replica stays behind")
        .unwrap();
}

/// Makes a snapshot of all that is applied.
pub(crate) async fn snapshot(log: &EventLog) {
    let raft = &log.inner.raft;
    let applied = log.status().applied_index;
    let made = async {
        // Little more than one takes: one that was under way is over soon, and then this one is heard.
        let once = Some(Duration::from_millis(100));
        let covers = |last: openraft::LogId<u64>| last.index >= applied;
        loop {
            // Not heard while another one is being made.
            raft.trigger().snapshot().await.unwrap();
            let wait = raft.wait(once);
            let made = wait.metrics(|now| now.snapshot.is_some_and(covers), "snapshot");
            if made.await.is_ok() {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, made)
        .await
        .expect("no snapshot is made");
}

/// Registers the hosts `first` to `last`, until every log begins after `had`, since all before is sealed and in
/// snapshots: in two, of which the older says how far the log may go. The newer one is of everything.
pub(crate) async fn register_and_purge(logs: &BTreeMap<u64, EventLog>, first: u8, last: u8, had: u64) {
    let middle = u8::midpoint(first, last);
    for (first, last) in [(first, middle), (middle + 1, last)] {
        for number in first..=last {
            register(logs, number).await;
        }
        for log in logs.values() {
            reach(log, Seq(last.into())).await;
            snapshot(log).await;
        }
    }
    for log in logs.values() {
        let wait = log.inner.raft.wait(Some(PATIENCE));
        wait.metrics(|now| now.purged.is_some_and(|last| last.index > had), "purged")
            .await
            .unwrap();
    }
}

/// Everything that is read from event 1 on, page by page.
async fn all(log: &EventLog) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    loop {
        let next = records.last().map_or(Seq(1), |last| last.last().next());
        let page = log.read(next, 7, 1 << 20).await.unwrap();
        if page.is_empty() {
            return records;
        }
        records.extend(page);
    }
}

/// A way to `to` that breaks each connection after `bytes` were sent on it.
async fn breaking(to: SocketAddr, bytes: u64) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    use tokio::io::{AsyncReadExt as _, copy};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut links = tokio::task::JoinSet::new();
        while let Ok((mut from, _)) = listener.accept().await {
            links.spawn(async move {
                let Ok(mut to) = tokio::net::TcpStream::connect(to).await else {
                    return;
                };
                let ((asks, mut answers), (mut told, mut asked)) = (from.split(), to.split());
                let mut asks = asks.take(bytes);
                tokio::select! {
                    _ = copy(&mut asks, &mut asked) => {}
                    _ = copy(&mut told, &mut answers) => {}
                }
            });
        }
    });
    (address, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_missed_purged_log_gets_a_snapshot_and_goes_on() {
    // Given a replica that was away while the others appended, made snapshots, sealed and purged their logs,
    let temp = tempfile::tempdir().unwrap();
    let (peers, mut logs) = start(temp.path()).await;
    let first = leader(&logs).await;
    for number in 1..=5 {
        register(&logs, number).await;
    }
    let away = (1..=3).find(|number| *number != first).unwrap();
    reach(&logs[&away], Seq(5)).await;
    let had = logs[&away].status().applied_index;
    logs.remove(&away).unwrap().shutdown().await;
    // and whom the others reach over a link that carries no snapshot in one go,
    let (link, task) = breaking(peers[&id(away)], 1_500_000).await;
    let others: Vec<u64> = logs.keys().copied().collect();
    for other in others {
        logs.remove(&other).unwrap().shutdown().await;
        let mut peers = peers.clone();
        peers.insert(id(away), link);
        logs.insert(
            other,
            open(temp.path().join(other.to_string()), other, &peers).await,
        );
    }
    // (the link carries pieces of a snapshot, and not many entries of this size at a time)
    register_and_purge(&logs, 6, 40, had).await;

    // when it comes back, and more is appended,
    logs.insert(away, open(temp.path().join(away.to_string()), away, &peers).await);
    reach(&logs[&away], Seq(40)).await;
    for number in 41..=50 {
        register(&logs, number).await;
    }

    // then it holds what they hold,
    let mut digests = BTreeSet::new();
    for log in logs.values() {
        reach(log, Seq(50)).await;
        digests.insert(log.projection().digest());
    }
    assert_eq!(digests.len(), 1);
    let back = &logs[&away];
    // it serves what is in its log, by number and by index,
    let read = back.read(Seq(41), 100, 64 << 20).await.unwrap();
    let seqs: Vec<u64> = read.iter().map(|record| record.first.0).collect();
    assert_eq!(seqs, (41..=50).collect::<Vec<_>>());
    let found = back.find(&about(45, 41), LIMIT).await.unwrap();
    assert_eq!(found.records.len(), 1);
    // and, once it has fetched what was before the snapshot, everything from the first event on.
    let mut span = back.inner.history.span();
    // (not only the few events that it had sealed itself)
    let snapshot = back.inner.applied.base.borrow().seq;
    let whole =
        span.wait_for(|span| span.is_some_and(|span| span.oldest == Seq(1) && span.newest >= snapshot));
    tokio::time::timeout(PATIENCE, whole)
        .await
        .expect("history is not fetched")
        .unwrap();
    let expected = all(&logs[&leader(&logs).await]).await;
    assert_eq!(expected.len(), 50);
    assert_eq!(all(back).await, expected);
    assert!(back.read(Seq(51), 100, 1 << 20).await.unwrap().is_empty());
    // Its index takes in what was fetched, too.
    for number in [3, 17, 40] {
        finds(back, number, 1).await;
    }
    // The state of any moment is what the records up to it fold to.
    for upto in [1, 17, 40, 49] {
        let mut folded = Projection::default();
        assert_eq!(folded.replay(&expected[..upto]), upto);
        let then = back.projection_at(expected[upto - 1].last()).await.unwrap();
        assert_eq!((then.seq(), then.hash()), (folded.seq(), folded.hash()));
        assert!(then.hosts_by_name().eq(folded.hosts_by_name()));
    }

    // A restart changes none of that.
    let digest = back.projection().digest();
    logs.remove(&away).unwrap().shutdown().await;
    let back = open(temp.path().join(away.to_string()), away, &peers).await;
    reach(&back, Seq(50)).await;
    assert_eq!(back.projection().digest(), digest);
    let found = back.find(&about(45, 41), LIMIT).await.unwrap();
    assert_eq!(found.records.len(), 1);
    assert_eq!(all(&back).await, expected);
    finds(&back, 3, 1).await;
    back.shutdown().await;
    task.abort();
    for log in logs.values() {
        log.shutdown().await;
    }
}

/// Waits until host `number`'s event is found among those from `from` on.
pub(crate) async fn finds(log: &EventLog, number: u8, from: u64) {
    let found = async {
        loop {
            match log.find(&about(number, from), LIMIT).await {
                Ok(found) => return found,
                Err(ReadError::Elsewhere { .. } | ReadError::NotReady) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    let found = tokio::time::timeout(PATIENCE, found).await;
    let found = found.unwrap_or_else(|_| {
        panic!(
            "host {number} is not found from {from} on: {:?}, sealed {:?}, purged {}, index from {:?}, applied {:?}",
            log.status().index,
            log.inner.history.span().borrow(),
            log.inner.storage.first_index(),
            log.inner.index.borrow().index.as_ref().map(|index| (index.from(), index.mark())),
            log.inner.applied.entry.borrow(),
        )
    });
    assert_eq!(found.records.len(), 1, "host {number}");
}

pub(crate) fn secret() -> crate::PeerSecurity {
    let secret = crate::ClusterSecret::new("a secret of the tests").expect("it is long enough");
    crate::PeerSecurity::LoopbackSecret(secret)
}

pub(crate) const LIMIT: Limit = Limit {
    records: 10,
    bytes: 1 << 20,
};

pub(crate) fn about(number: u8, from: u64) -> Search {
    Search {
        resource: Some(Resource::Host(host(number))),
        begin: Some(Seq(from)),
        ..Search::default()
    }
}
