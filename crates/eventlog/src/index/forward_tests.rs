//! Wherever a log begins, an index goes on with it, and takes what it lost from history: also while the log is purged for a
//! snapshot that is not told yet.

use chv_domain::{Projection, RecordHash};
use openraft::LeaderId;
use tokio::sync::watch;

use super::fill::fill;
use super::*;
use crate::history::format::samples::{chain, sealed};
use crate::history::seal_tests::Replica;
use crate::raft::LogId;
use crate::raft::state_machine::Applied;

fn id(entry: u64) -> LogId {
    LogId::new(LeaderId::new(1, 2), entry)
}

/// An empty index of a replica with `records` in its log, of which nothing is told to be applied.
async fn begun(records: &[Record]) -> (Replica, Sources, Index) {
    let replica = Replica::with(records).await;
    let sources = Sources {
        log: replica.log.clone(),
        history: replica.history(),
        applied: Applied {
            projection: watch::Sender::new(Projection::default()),
            seq: watch::Sender::new(Seq::ZERO),
            entry: watch::Sender::new(None),
            base: watch::Sender::new(Mark::default()),
        },
    };
    let index = Index::open(&replica.temp.path().join("index")).unwrap();
    (replica, sources, index)
}

fn end(records: &[Record]) -> (Seq, RecordHash) {
    let last = records.last().unwrap();
    (last.last(), last.hash())
}

#[tokio::test]
async fn an_index_goes_on_wherever_the_log_begins() {
    // Given records, two in an entry, each followed by one that was dropped; all sealed,
    let records = chain(Seq(1), RecordHash::ZERO, &[(2, 5); 20]);
    let last = 20;
    for purged in 0..=last {
        let (mut replica, sources, index) = begun(&records).await;
        sources.history.add(&sealed(&records)).unwrap();
        // when the log is purged up to any entry, before that is told to be applied,
        replica.purge(purged).await;
        if purged > 0 {
            let step = sources.step(&index, Mark::default(), last).await.unwrap();
            assert_eq!(step, None, "{purged}: what led there is not known yet");
        }
        sources.applied.entry.send_replace(Some(id(last)));
        // then an empty index gets to the end,
        let mut mark = Mark::default();
        for _ in 0..=last {
            if mark.entry < last {
                mark = sources.step(&index, mark, last).await.unwrap().unwrap();
            }
        }
        assert_eq!((mark.seq, mark.hash), end(&records), "{purged}");
        // and is filled to the beginning.
        while fill(&index, &sources.history, Seq(1)).unwrap() {}
        assert_eq!(index.from().unwrap(), Seq(1), "{purged}");
        for record in &records {
            let term = [Term::Command(record.cause.command)];
            let places = index
                .find(&term, Order::OldestFirst, (Seq(1), mark.seq), 1)
                .unwrap();
            assert_eq!(places.spans.len(), 1, "{purged}: {}", record.first);
        }
    }
}

#[tokio::test]
async fn an_index_goes_on_after_a_snapshot_that_history_does_not_reach() {
    // Given an index with the first records of a log that is then purged for a snapshot,
    let records = chain(Seq(1), RecordHash::ZERO, &[(2, 5); 20]);
    let (mut replica, sources, index) = begun(&records[..4]).await;
    sources.applied.entry.send_replace(Some(id(4)));
    let had = sources.step(&index, Mark::default(), 4).await.unwrap().unwrap();
    assert_eq!((had.seq, had.hash), end(&records[..4]));
    replica.purge(20).await;
    // when the snapshot is not there yet, then it stays where it is,
    assert_eq!(sources.step(&index, had, 20).await.unwrap(), None);
    // and when it is, it goes on after it, and says that it leaves out what is between.
    let (seq, hash) = end(&records);
    let base = Mark { entry: 20, seq, hash };
    sources.applied.base.send_replace(base);
    sources.applied.entry.send_replace(Some(id(20)));
    assert_eq!(sources.step(&index, had, 20).await.unwrap(), Some(base));
    assert_eq!(index.from().unwrap(), seq.next());
}
