//! What a replica's files looked like when they were written once: each form's bytes are kept, read, and compared with
//! what is written now. Of compressed forms only what they hold is compared, since a new zstd may compress otherwise.
//!
//! `BLESS=1 cargo nextest run -p chv-eventlog golden` writes them anew. Where that changes bytes of before, the form has
//! changed, and needs a new version instead.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use chv_domain::{Batch, ClusterId, Projection, Record, ReplicaId, Seq, stored};
use openraft::{BasicNode, CommittedLeaderId, EntryPayload};

use crate::archive::{self, ArchiveWriter};
use crate::files::{CommittedHint, Dir, Identity};
use crate::history::format;
use crate::raft::log_storage::{PURGED, VOTE};
use crate::raft::snapshot::{Origin, Snapshots, State, file_names};
use crate::raft::{Entry, LogId, Membership, Vote};
use crate::segment::{ScannedSegment, SegmentStore};

fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/golden", name]
        .iter()
        .collect()
}

fn blessing() -> bool {
    std::env::var_os("BLESS").is_some()
}

/// The path of the golden file; what is in it has to be what is in `written`.
fn same(name: &str, written: &Path) -> PathBuf {
    let kept = held(name, written);
    assert!(
        std::fs::read(&kept).unwrap() == std::fs::read(written).unwrap(),
        "{name}: this is written otherwise than before, so it needs a new version; see this file's head"
    );
    kept
}

/// The path of the golden file.
fn held(name: &str, written: &Path) -> PathBuf {
    if blessing() {
        std::fs::create_dir_all(file("")).unwrap();
        std::fs::copy(written, file(name)).unwrap();
    }
    file(name)
}

/// A directory in which the golden file `name` has the name `as_name`.
fn dir_with(name: &str, as_name: &str) -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    std::fs::copy(file(name), temp.path().join(as_name)).unwrap();
    temp
}

fn log_id(index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(3, 2), index)
}

fn records() -> Vec<Record> {
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/../domain/tests/golden/records.bin");
    stored::decode(&std::fs::read(kept).unwrap()).unwrap()
}

fn state() -> Projection {
    let mut state = Projection::default();
    for record in records() {
        let batch = Batch {
            published: Seq::ZERO,
            records: vec![record.clone()],
        };
        state.apply_batch(record.term, &batch);
    }
    state
}

fn membership() -> openraft::Membership<u64, BasicNode> {
    let nodes = [(1, "127.0.0.1:7101"), (2, "127.0.0.1:7102")];
    let nodes = nodes.map(|(id, address)| (id, BasicNode::new(address)));
    openraft::Membership::new(vec![[1].into()], std::collections::BTreeMap::from(nodes))
}

#[test]
fn small_files_read_as_they_were_written() {
    let temp = tempfile::tempdir().unwrap();
    let written = temp.path().join("replica");
    let identity = Identity::for_tests(ClusterId::from_bytes([9; 16]), ReplicaId::new(2).unwrap());
    identity.write(&written).unwrap();
    let dir = Dir::open(&written).unwrap();
    let vote = Vote::new_committed(3, 2);
    dir.replace(VOTE, &vote).unwrap();
    dir.replace(PURGED, &log_id(41)).unwrap();
    let (mut hint, _) = CommittedHint::open(&dir).unwrap();
    hint.write(&log_id(42)).unwrap();
    hint.write(&log_id(43)).unwrap();
    for name in ["identity", VOTE, PURGED, "committed"] {
        same(name, &written.join(name));
    }
    let dir = Dir::open(&file("")).unwrap();
    assert_eq!(Identity::read(&dir).unwrap(), identity);
    assert_eq!(dir.read::<Vote>(VOTE).unwrap(), Some(vote));
    assert_eq!(dir.read::<LogId>(PURGED).unwrap(), Some(log_id(41)));
    assert_eq!(CommittedHint::<LogId>::last(&dir).unwrap(), Some(log_id(43)));
}

#[test]
fn a_segment_reads_as_it_was_written() {
    let batch = Batch {
        published: Seq(3),
        records: records(),
    };
    let payloads = [
        EntryPayload::Blank,
        EntryPayload::Membership(membership()),
        EntryPayload::Normal(Arc::new(batch)),
    ];
    let entries: Vec<Entry> = (7..)
        .zip(payloads)
        .map(|(index, payload)| Entry {
            log_id: log_id(index),
            payload,
        })
        .collect();
    let temp = tempfile::tempdir().unwrap();
    let mut store = SegmentStore::open(Arc::new(Dir::open(temp.path()).unwrap()), 8192, 7).unwrap();
    let stored: Vec<_> = entries
        .iter()
        .map(|entry| Bytes::from(stored::encode(entry).unwrap()))
        .collect();
    store.append(7, &stored).unwrap();
    drop(store);
    let name = "log-00000000000000000007.seg";
    same(name, &temp.path().join(name));
    let kept = ScannedSegment::read(&file(""), 7, true).unwrap();
    let read: Vec<Entry> = kept
        .entries()
        .map(|(_, entry)| crate::raft::decode(&entry.payload).unwrap())
        .collect();
    // openraft's entries can't be compared, their stored forms can.
    let again: Vec<_> = read
        .iter()
        .map(|entry| Bytes::from(stored::encode(entry).unwrap()))
        .collect();
    assert_eq!(again, stored);
}

#[test]
fn a_snapshot_reads_as_it_was_written() {
    let written = State {
        applied: Some(log_id(43)),
        membership: Membership::new(Some(log_id(8)), membership()),
        projection: state(),
    };
    let temp = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::new(Arc::new(Dir::open(temp.path()).unwrap()));
    snapshots.write(&written, Origin::Built).unwrap();
    let name = file_names(temp.path()).unwrap().remove(0);
    held("snapshot", &temp.path().join(&name));
    let temp = dir_with("snapshot", &name);
    let snapshots = Snapshots::new(Arc::new(Dir::open(temp.path()).unwrap()));
    let kept = snapshots.newest().unwrap().unwrap();
    assert_eq!(
        (kept.applied, kept.membership),
        (written.applied, written.membership)
    );
    assert_eq!(kept.projection, written.projection);
}

#[test]
fn sealed_files_and_archives_read_as_they_were_written() {
    let temp = tempfile::tempdir().unwrap();
    let cluster = ClusterId::from_bytes([9; 16]);
    let (records, state) = (records(), state());
    let mut builder = format::Builder::new(format::Header {
        cluster,
        first: records[0].first,
        prev: records[0].prev,
    });
    records.iter().for_each(|record| builder.push(record).unwrap());
    let sealed = temp.path().join("sealed");
    std::fs::write(&sealed, builder.finish().unwrap()).unwrap();
    let mut read = Vec::new();
    let kept = std::fs::File::open(held("sealed.history", &sealed)).unwrap();
    format::verify(&kept, |records| read.extend(records)).unwrap();
    assert_eq!(read, records);

    let path = temp.path().join("archive");
    let mut writer = ArchiveWriter::create(&path, cluster).unwrap();
    records.iter().for_each(|record| writer.push(record).unwrap());
    writer.finish(&state).unwrap();
    let mut read = Vec::new();
    let archive = archive::read(&held("archive.chv", &path), &mut |_| {}, &mut |record| {
        read.push(record.clone());
        Ok(())
    });
    assert_eq!(archive.unwrap().state, state);
    assert_eq!(read, records);
}
