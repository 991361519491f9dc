//! Sealing what a log holds, stopped and begun again at each step.

use std::sync::Arc;

use chv_domain::{Batch, Projection, Record, RecordHash, ReplicaId, Seq};
use openraft::storage::{RaftLogStorage as _, RaftLogStorageExt as _, RaftStateMachine as _};
use openraft::{EntryPayload, LeaderId};
use tempfile::TempDir;
use tokio::sync::watch;

use super::format::samples::{CLUSTER, chain, sealed};
use super::seal::{FileSize, Sealer};
use super::store::History;
use crate::files::Dir;
use crate::raft::log_storage::LogStorage;
use crate::raft::snapshot::{Origin, Snapshots, State};
use crate::raft::state_machine::StateMachine;
use crate::raft::writer::Writer;
use crate::raft::{Entry, LogId, TypeConfig};
use crate::segment::SegmentStore;

const FULL: FileSize = FileSize {
    events: 10,
    bytes: usize::MAX,
};

pub(crate) struct Replica {
    pub(crate) temp: TempDir,
    pub(crate) log: LogStorage,
}

impl Replica {
    /// A log whose entries hold two records each, of two events, but for some that hold nothing or are dropped.
    pub(crate) async fn with(records: &[Record]) -> Self {
        let temp = TempDir::new().unwrap();
        let dir = Arc::new(Dir::open(temp.path()).unwrap());
        let store = SegmentStore::open(Arc::clone(&dir), 4096, 0).unwrap();
        let reader = store.reader();
        let (writer, _) = Writer::start(store, watch::Sender::new(None)).unwrap();
        let log = LogStorage::open(dir, ReplicaId::new(1).unwrap(), writer, reader).unwrap();
        let mut replica = Self { temp, log };
        replica.append(0, EntryPayload::Blank).await;
        for (index, pair) in (0..).zip(records.chunks(2)) {
            let batch = Batch {
                published: Seq::ZERO,
                records: pair.to_vec(),
            };
            replica
                .append(1 + 2 * index, EntryPayload::Normal(Arc::new(batch)))
                .await;
            // Does not continue the chain any more: it is dropped.
            let dropped = Batch {
                published: Seq::ZERO,
                records: pair[..1].to_vec(),
            };
            replica
                .append(2 + 2 * index, EntryPayload::Normal(Arc::new(dropped)))
                .await;
        }
        replica
    }

    async fn append(&mut self, index: u64, payload: EntryPayload<TypeConfig>) {
        let log_id = LogId::new(LeaderId::new(1, 2), index);
        self.log
            .blocking_append([Entry { log_id, payload }])
            .await
            .unwrap();
    }

    /// Purges the log up to this entry, for a snapshot that is on the disk.
    pub(crate) async fn purge(&mut self, upto: u64) {
        self.log.in_snapshot(upto);
        self.log
            .purge(LogId::new(LeaderId::new(1, 2), upto))
            .await
            .unwrap();
    }

    pub(crate) fn history(&self) -> History {
        History::open(&self.temp.path().join("history"), CLUSTER).unwrap()
    }

    fn sealer(&self, history: &History) -> Sealer {
        Sealer::new(history.clone(), self.log.clone(), FULL)
    }
}

/// Thirty-one records of two events each: entry `1 + 2 * n` holds the events from `1 + 4 * n` on.
fn records() -> Vec<Record> {
    chain(Seq(1), RecordHash::ZERO, &[(2, 300); 31])
}

fn read(history: &History) -> Vec<Record> {
    history.records(Seq(1), usize::MAX, usize::MAX).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_entries_are_sealed_in_full_files_and_dropped_batches_are_not() {
    let records = records();
    let replica = Replica::with(&records).await;
    let history = replica.history();
    let mut sealer = replica.sealer(&history);

    assert!(sealer.run(32, Seq(62)).unwrap());

    // Three entries of four events fill a file of ten.
    let files = history.files();
    let ends: Vec<u64> = files.iter().map(|file| file.last.0).collect();
    assert_eq!(ends, [12, 24, 36, 48, 60]);
    assert_eq!(read(&history), records[..30]);
    // The event after is in entry 31.
    assert_eq!(sealer.covered(), 30);
    sealer.close().unwrap();
    assert_eq!(read(&history), records);
    assert_eq!(sealer.covered(), 32);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_after_any_entry_sealing_goes_on_where_it_was_and_the_log_may_lose_only_what_is_sealed() {
    let records = records();
    let mut replica = Replica::with(&records).await;
    for applied in 0..=32_u64 {
        // Given a process that was killed while it wrote a file,
        std::fs::create_dir_all(replica.temp.path().join("history")).unwrap();
        std::fs::write(replica.temp.path().join("history/sealing.new"), b"half").unwrap();
        // when it opens again and goes on,
        let history = replica.history();
        let mut sealer = replica.sealer(&history);
        let seq = Seq(applied.div_ceil(2) * 4).min(Seq(62));
        assert!(sealer.run(applied, seq).unwrap());
        // then each record is sealed or in what is not covered,
        let sealed = read(&history);
        assert_eq!(sealed, records[..sealed.len()]);
        let logged = replica.log.stored(sealer.covered() + 1, 33, usize::MAX).unwrap();
        let batches = logged.into_iter().filter_map(|entry| match entry.payload {
            EntryPayload::Normal(batch) => Some(batch.records.clone()),
            _ => None,
        });
        let logged: Vec<Record> = batches.flatten().collect();
        assert!(
            records
                .iter()
                .all(|record| sealed.contains(record) || logged.contains(record))
        );
        // and the rest may be purged.
        if sealer.covered() > 0 {
            replica.purge(sealer.covered()).await;
        }
    }
    assert_eq!(read(&replica.history()), records[..30]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_begins_after_what_is_sealed_is_told_and_sealing_goes_on_once_that_was_fetched() {
    let records = records();
    let mut replica = Replica::with(&records).await;
    let history = replica.history();
    let mut sealer = replica.sealer(&history);
    assert!(sealer.run(14, Seq(28)).unwrap());
    assert_eq!(history.span().borrow().unwrap().newest, Seq(24));

    // Given a log that was purged beyond, as a snapshot from the leader does it,
    replica.purge(18).await;
    let mut sealer = replica.sealer(&history);
    assert!(!sealer.run(24, Seq(48)).unwrap());
    assert!(!sealer.run(26, Seq(52)).unwrap());
    assert_eq!(sealer.covered(), 18);

    // when a file comes that reaches into the log, then sealing goes on from its end.
    history.add(&sealed(&records[10..20])).unwrap();
    assert!(sealer.run(32, Seq(62)).unwrap());
    assert_eq!(read(&history), records);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_committed_is_not_sealed_between_a_snapshot_from_the_leader_and_the_purge() {
    // Given a log of which only entries up to 4 were committed,
    let records = records();
    let mine = Replica::with(&records[..10]).await;
    let history = mine.history();
    let mut sealer = mine.sealer(&history);
    assert!(sealer.run(4, Seq(8)).unwrap());
    // and a leader that has other records after those, as far as entry 40,
    let theirs = chain(Seq(9), records[3].hash(), &[(2, 20); 18]);
    let mut projection = Projection::default();
    assert_eq!(projection.replay(&records[..4]), 4);
    assert_eq!(projection.replay(&theirs), theirs.len());
    let state = State {
        applied: Some(LogId::new(LeaderId::new(2, 1), 40)),
        projection,
        ..State::default()
    };
    let elsewhere = TempDir::new().unwrap();
    let snapshots = |path| Snapshots::new(Arc::new(Dir::open(path).unwrap()));
    let sent = snapshots(elsewhere.path()).write(&state, Origin::Built).unwrap();

    // when its snapshot is installed, and the log is not purged yet,
    let here = mine.temp.path().join("snapshots");
    let mut machine = StateMachine::new(State::default(), snapshots(&here), Some(mine.log.clone()));
    let sent = Box::new(tokio::fs::File::from_std(sent));
    machine.install_snapshot(&state.meta(), sent).await.unwrap();

    // then nothing is sealed but what was committed, and the rest is to be fetched.
    assert!(!sealer.run(40, state.projection.seq()).unwrap());
    assert_eq!(read(&history), records[..4]);
}
