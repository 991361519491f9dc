//! A replica that missed what the others' logs no longer hold: it gets a snapshot, and says what it has not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chv_domain::*;
use tokio::net::TcpListener;

use crate::{AppendError, Config, EventLog, Leadership, Query, ReadError, Timing};

const PATIENCE: Duration = Duration::from_secs(20);

type Peers = BTreeMap<ReplicaId, SocketAddr>;

fn id(number: u64) -> ReplicaId {
    ReplicaId::new(number).unwrap()
}

fn host(number: u8) -> HostId {
    HostId::from_bytes([number; 16])
}

async fn open(dir: PathBuf, number: u64, peers: &Peers) -> EventLog {
    let listener = TcpListener::bind(peers[&id(number)]).await.unwrap();
    let timing = Timing {
        heartbeat: Duration::from_millis(100),
        election: Duration::from_millis(500),
    };
    EventLog::open(Config {
        bootstrap: true,
        timing,
        // Small, so that purging has whole files to delete.
        segment_size: 2048,
        snapshot_every: 1_000_000,
        ..Config::new(dir, listener, peers.clone(), secret())
    })
    .await
    .unwrap()
}

async fn start(temp: &Path) -> (Peers, BTreeMap<u64, EventLog>) {
    let mut peers = Peers::new();
    for number in 1..=3 {
        // Taken and let go: each replica binds its address again, as after a restart.
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        peers.insert(id(number), free.local_addr().unwrap());
    }
    let mut logs = BTreeMap::new();
    for number in 1..=3 {
        let dir = temp.join(number.to_string());
        EventLog::init(&dir, ClusterId::from_bytes([9; 16]), id(number)).unwrap();
        logs.insert(number, open(dir, number, &peers).await);
    }
    (peers, logs)
}

async fn leader(logs: &BTreeMap<u64, EventLog>) -> u64 {
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
async fn register(logs: &BTreeMap<u64, EventLog>, number: u8) {
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
    let facts = HostFacts {
        capacity: Capacity {
            vcpus: 1,
            memory_mib: 1024,
        },
        hypervisors: vec![],
        daemon: "test".to_owned(),
    };
    let submission = Submission {
        id: CommandId::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, number]),
        actor: format!("host/h{number}").parse().unwrap(),
        command: Command::RegisterHost {
            host: host(number),
            facts,
        },
        expected: None,
        deadline: None,
        trace: None,
        follows: None,
    };
    let context = Context {
        now: Timestamp(1),
        term: log.status().term,
        alive: &BTreeSet::new(),
        replicas: &Replicas::alone(ReplicaId::new(1).unwrap()),
    };
    let Ok(Decided::Record(record)) = decide(&state, &submission, context) else {
        panic!("host {number} was not registered");
    };
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

async fn reach(log: &EventLog, seq: Seq) {
    let mut applied = log.applied();
    let reached = applied.wait_for(|applied| *applied >= seq);
    tokio::time::timeout(PATIENCE, reached)
        .await
        .expect("a replica stays behind")
        .unwrap();
}

/// Makes a snapshot of all that is applied, and purges the log up to there.
async fn purge(log: &EventLog) {
    let raft = &log.inner.raft;
    let applied = log.status().applied_index;
    raft.trigger().snapshot().await.unwrap();
    let wait = raft.wait(Some(PATIENCE));
    wait.metrics(
        |now| now.snapshot.is_some_and(|last| last.index >= applied),
        "snapshot",
    )
    .await
    .unwrap();
    raft.trigger().purge_log(applied).await.unwrap();
    let wait = raft.wait(Some(PATIENCE));
    wait.metrics(
        |now| now.purged.is_some_and(|last| last.index >= applied),
        "purged",
    )
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_missed_purged_log_gets_a_snapshot_and_goes_on() {
    // Given a replica that was away while the others appended, made snapshots and purged their logs,
    let temp = tempfile::tempdir().unwrap();
    let (peers, mut logs) = start(temp.path()).await;
    let first = leader(&logs).await;
    for number in 1..=5 {
        register(&logs, number).await;
    }
    let away = (1..=3).find(|number| *number != first).unwrap();
    reach(&logs[&away], Seq(5)).await;
    logs.remove(&away).unwrap().shutdown().await;
    for number in 6..=40 {
        register(&logs, number).await;
    }
    for log in logs.values() {
        reach(log, Seq(40)).await;
        purge(log).await;
    }

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
    let read = back.read(Seq(41), 100, 1 << 20).await.unwrap();
    let seqs: Vec<u64> = read.iter().map(|record| record.first.0).collect();
    assert_eq!(seqs, (41..=50).collect::<Vec<_>>());
    let found = back
        .find(Query::Resource(Resource::Host(host(45))), Seq(41), 10, 1 << 20)
        .await
        .unwrap();
    assert_eq!(found.len(), 1);
    // and instead of answering with a hole it says where what it has begins.
    for from in [Seq(6), Seq(20), Seq(40)] {
        let gone = back.read(from, 100, 1 << 20).await;
        assert!(
            matches!(gone, Err(ReadError::Gone { oldest: Seq(41) })),
            "from {from}: {gone:?}"
        );
    }
    let gone = back
        .find(Query::Resource(Resource::Host(host(3))), Seq(1), 10, 1 << 20)
        .await;
    assert!(
        matches!(gone, Err(ReadError::Gone { oldest: Seq(41) })),
        "{gone:?}"
    );
    assert!(back.read(Seq(51), 100, 1 << 20).await.unwrap().is_empty());

    // A restart changes none of that.
    let digest = back.projection().digest();
    logs.remove(&away).unwrap().shutdown().await;
    let back = open(temp.path().join(away.to_string()), away, &peers).await;
    reach(&back, Seq(50)).await;
    assert_eq!(back.projection().digest(), digest);
    let found = back
        .find(Query::Resource(Resource::Host(host(45))), Seq(41), 10, 1 << 20)
        .await
        .unwrap();
    assert_eq!(found.len(), 1);
    back.shutdown().await;
    for log in logs.values() {
        log.shutdown().await;
    }
}

fn secret() -> crate::PeerSecurity {
    let secret = crate::ClusterSecret::new("a secret of the tests").expect("it is long enough");
    crate::PeerSecurity::LoopbackSecret(secret)
}
