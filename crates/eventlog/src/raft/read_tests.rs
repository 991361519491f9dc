//! Reads of the log while it grows: what is returned follows on without a hole, from where it was asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chv_domain::ReplicaId;
use openraft::storage::RaftLogStorageExt as _;
use openraft::testing::blank_ent;
use tokio::sync::watch;

use super::TypeConfig;
use super::log_storage::LogStorage;
use super::writer::Writer;
use crate::files::Dir;
use crate::segment::SegmentStore;

/// Well over what is kept in memory, so that entries leave it all the time.
const ENTRIES: u64 = 6_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_read_has_no_hole_while_entries_leave_memory() {
    // Given a log that grows until entries leave memory for the disk,
    let temp = tempfile::tempdir().unwrap();
    let dir = Arc::new(Dir::open(temp.path()).unwrap());
    let store = SegmentStore::open(Arc::clone(&dir), 1 << 20, 0).unwrap();
    let reader = store.reader();
    let (writer, thread) = Writer::start(store, watch::Sender::new(None)).unwrap();
    let mut log = LogStorage::open(dir, ReplicaId::new(1).unwrap(), writer, reader).unwrap();
    let grown = Arc::new(AtomicBool::new(false));

    // when others read it all the while, as a follower that lags does,
    let readers: Vec<_> = (0..3)
        .map(|reader| {
            let (log, grown) = (log.clone(), Arc::clone(&grown));
            tokio::spawn(async move {
                let (mut from, mut reads) = (reader, 0u64);
                while !grown.load(Ordering::Relaxed) {
                    let found = log.entries(from, u64::MAX, 64 << 10).await.unwrap();
                    let indexes: Vec<u64> = found.iter().map(|entry| entry.log_id.index).collect();
                    let expected: Vec<u64> = (from..).take(indexes.len()).collect();
                    // then each read begins where it was asked to, and goes on without a hole.
                    assert_eq!(indexes, expected, "asked from {from}");
                    reads += 1;
                    // Near the border between memory and disk, and back again.
                    from = match indexes.last() {
                        Some(last) if reads % 7 != 0 => *last + 1,
                        Some(last) => last.saturating_sub(600),
                        None => from.saturating_sub(520),
                    };
                    tokio::task::yield_now().await;
                }
                reads
            })
        })
        .collect();
    let mut next = 0;
    while next < ENTRIES {
        let entries: Vec<_> = (next..next + 8)
            .map(|index| blank_ent::<TypeConfig>(1, 1, index))
            .collect();
        log.blocking_append(entries).await.unwrap();
        next += 8;
    }
    grown.store(true, Ordering::Relaxed);
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
    assert_eq!(
        log.entries(0, u64::MAX, usize::MAX).await.unwrap().len() as u64,
        ENTRIES
    );
    thread.end(&log.writer().clone()).await;
}
