//! A replica whose log was purged loses its index, or finds out that it lies, or that it was left behind: whatever the log
//! lost is found again, out of sealed history.

use std::collections::BTreeMap;

use chv_domain::Resource;

use super::*;
use crate::EventLog;
use crate::open::INDEX;
use crate::purged_tests::{PATIENCE, Peers, finds, open, reach, register_and_purge, start_of};
use crate::testing::host;

/// How many events there are.
const EVENTS: u8 = 40;

/// A replica that was shut down.
struct Closed {
    temp: tempfile::TempDir,
    peers: Peers,
    /// Its first records.
    records: Vec<Record>,
}

impl Closed {
    /// One whose log was purged of more than its first records.
    async fn purged() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let (peers, mut logs): (Peers, BTreeMap<u64, EventLog>) = start_of(temp.path(), 1).await;
        register_and_purge(&logs, 1, EVENTS, 10).await;
        let log = logs.remove(&1).unwrap();
        let records = log.read(Seq(1), 5, usize::MAX).await.unwrap();
        log.shutdown().await;
        Self { temp, peers, records }
    }

    fn index(&self) -> PathBuf {
        self.temp.path().join("1").join(INDEX)
    }

    async fn opened(&self) -> EventLog {
        let log = open(self.temp.path().join("1"), 1, &self.peers).await;
        reach(&log, Seq(EVENTS.into())).await;
        log
    }
}

/// Waits until the whole index was compared and agreed, and finds everything; how often it was made again.
async fn agrees_and_finds_everything(log: &EventLog) -> u32 {
    for number in [1, 3, 17, EVENTS] {
        finds(log, number, 1).await;
    }
    let mut reached = log.inner.index.clone();
    let verified = reached.wait_for(|now| now.health.verified == Seq(EVENTS.into()));
    let verified = tokio::time::timeout(PATIENCE, verified).await;
    verified.expect("it is not compared").unwrap().health.rebuilt
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_lost_finds_again_what_the_log_lost() {
    // Given a replica whose log was purged,
    let closed = Closed::purged().await;
    // when it loses its index and is started again,
    std::fs::remove_dir_all(closed.index()).unwrap();
    let log = closed.opened().await;
    // then searches find what was before the purge, and what is in the log.
    assert_eq!(agrees_and_finds_everything(&log).await, 0);
    log.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_lies_about_what_the_log_lost_is_made_again_while_the_replica_runs() {
    // Given a replica whose log was purged, and whose index does not find an event of before,
    let closed = Closed::purged().await;
    {
        let index = Index::open(&closed.index()).unwrap();
        let first = Number(0);
        let mut block = index.block(first).unwrap().unwrap();
        let print = Term::Resource(Resource::Host(host(3))).print();
        block.prints.retain(|held| *held != print);
        index.opened.blocks.insert(first.key(), block.encode()).unwrap();
    }
    // when it is started, and compares its index,
    let log = closed.opened().await;
    let mut reached = log.inner.index.clone();
    let again = reached.wait_for(|now| now.health.rebuilt == 1 && now.index.is_some());
    let again = tokio::time::timeout(PATIENCE, again).await;
    drop(again.expect("it is not found out").unwrap());
    // then it makes that again, and finds everything.
    assert_eq!(agrees_and_finds_everything(&log).await, 1);
    log.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_the_purge_overtook_goes_on() {
    // Given a replica whose log was purged, and whose index has only the first events,
    let closed = Closed::purged().await;
    {
        let index = Index::anew(&closed.index()).unwrap();
        let last = closed.records.last().unwrap();
        let mark = Mark {
            entry: 7,
            seq: last.last(),
            hash: last.hash(),
        };
        let records: Vec<_> = (3..).zip(&closed.records).collect();
        index.add(&records, mark).unwrap();
    }
    // when it is started,
    let log = closed.opened().await;
    // then its index is kept, and takes in what is sealed and what the log has.
    assert_eq!(agrees_and_finds_everything(&log).await, 0);
    log.shutdown().await;
}
