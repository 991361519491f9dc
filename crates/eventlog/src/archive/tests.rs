//! Archives of directories that replicas wrote, what damage does to them, and clusters that begin with one.

use std::net::SocketAddr;
use std::path::Path;

use chv_domain::{ClusterId, CommandId, Projection, Record, RecordHash, ReplicaId, Seq, Timestamp, stored};

use super::*;
use crate::history::format::samples::{CLUSTER, chain};
use crate::history::{History, checkpoint};
use crate::offline::tests::rig::{EVENTS, begin, events, open, written};
use crate::offline::{self, ClosedDir};
use crate::open::HISTORY;
use crate::raft::snapshot_file::LastWritten;

fn archived(purged: bool, to: &Path) -> Archived {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let temp = runtime.block_on(written(purged));
    collect(&ClosedDir::open(temp.path()).unwrap(), to, &mut |_| {}).unwrap()
}

fn order(archive: &Path, dir: &Path, replica: u64) -> Restore {
    Restore {
        archive: archive.to_owned(),
        dir: dir.to_owned(),
        replica: ReplicaId::new(replica).unwrap(),
        address: SocketAddr::from(([127, 0, 0, 1], 7_109)),
        cluster: None,
        now: Timestamp(77),
        command: CommandId::from_bytes([7; 16]),
    }
}

fn records(path: &Path) -> Vec<Record> {
    let mut records = Vec::new();
    let collected = read(path, &mut |_| {}, &mut |record| {
        records.push(record.clone());
        Ok(())
    });
    collected.unwrap();
    records
}

#[test]
fn a_directory_is_archived_whole_and_the_archive_proves_itself() {
    for purged in [false, true] {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a.chv");
        // given the archive of a stopped replica
        let archived = archived(purged, &path);
        assert_eq!(archived.last_seq, Seq(EVENTS));
        // when it is checked
        let verified = verify(&path, &mut |_| {}).unwrap();
        // then it says what was archived, and nothing else was left behind
        assert!(verified.is_sound());
        assert_eq!(
            (verified.last_seq, verified.last_hash),
            (archived.last_seq, archived.last_hash)
        );
        assert_eq!(verified.first_seq, Some(archived.first_seq));
        assert_eq!(records(&path).len() as u64, archived.records);
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 1);
    }
}

#[test]
fn a_bit_flipped_anywhere_or_a_cut_is_refused_and_nothing_is_restored() {
    let temp = crate::files::in_memory();
    let path = temp.path().join("a.chv");
    archived(false, &path);
    let sound = std::fs::read(&path).unwrap();
    let refused = |bytes: &[u8], what: &str| {
        std::fs::write(&path, bytes).unwrap();
        let told = verify(&path, &mut |_| {});
        assert!(told.is_err() || !told.unwrap().is_sound(), "{what}");
        let dir = temp.path().join("restored");
        assert!(restore(&order(&path, &dir, 2), &mut |_| {}).is_err(), "{what}");
        let left: Vec<_> = std::fs::read_dir(temp.path())
            .unwrap()
            .map(|left| left.unwrap().file_name())
            .collect();
        assert_eq!(left, ["a.chv"], "{what}");
    };
    for at in 0..sound.len() {
        let mut bad = sound.clone();
        bad[at] ^= 1 << (at % 8);
        refused(&bad, &format!("byte {at} of {}", sound.len()));
        refused(&sound[..at], &format!("cut at {at} of {}", sound.len()));
    }
    refused(&[sound.as_slice(), b"x"].concat(), "a byte more");
}

#[tokio::test]
async fn a_cluster_begins_with_an_archive_keeps_its_numbers_and_goes_on() {
    for (purged, cluster) in [(false, None), (true, Some(ClusterId::from_bytes([3; 16])))] {
        // given an archive
        let (temp, source) = (tempfile::tempdir().unwrap(), written(purged).await);
        let path = temp.path().join("a.chv");
        let archived = collect(&ClosedDir::open(source.path()).unwrap(), &path, &mut |_| {}).unwrap();
        // when it is restored as a replica's directory
        let dir = temp.path().join("restored");
        let restoring = Restore {
            cluster,
            ..order(&path, &dir, 2)
        };
        let restored = restore(&restoring, &mut |_| {}).unwrap();
        // then that directory is sound, and a replica begins with it
        assert_eq!(restored.cluster, cluster.unwrap_or(archived.cluster));
        assert_eq!(
            (restored.archived, restored.first),
            (Seq(EVENTS), archived.first_seq)
        );
        assert_eq!(restored.last, begin(&dir).await.unwrap().seq);
        let verified = offline::verify(&ClosedDir::open(&dir).unwrap(), &mut |_| {});
        assert!(verified.is_sound(), "{:?}", verified.findings);
        // leads, takes events, and has the archived ones as they were
        let log = open(&dir, 2, 1_000_000).await;
        events(&log, 100, 3).await;
        assert_eq!(log.projection().seq(), Seq(restored.last.0 + 3));
        let served = log.read(archived.first_seq, 100, 1 << 20).await.unwrap();
        assert_eq!(served[..archived.records as usize], records(&path));
        assert!(log.projection().cluster().member(restoring.replica).is_some());
        log.shutdown().await;
        drop(log);
        // and archived again it holds all of it
        let again = collect(&ClosedDir::open(&dir).unwrap(), &path, &mut |_| {}).unwrap();
        assert_eq!(again.records, archived.records + 4);
    }
}

#[test]
fn a_number_is_given_once_and_a_directory_in_use_is_left_alone() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("a.chv");
    archived(false, &path);
    let dir = temp.path().join("restored");
    restore(&order(&path, &dir, 1), &mut |_| {}).unwrap();
    let taken = restore(&order(&path, &dir, 1), &mut |_| {});
    assert!(matches!(taken, Err(RestoreError::Identity(_))), "{taken:?}");
    let again = temp.path().join("again.chv");
    collect(&ClosedDir::open(&dir).unwrap(), &again, &mut |_| {}).unwrap();
    let used = restore(&order(&again, &temp.path().join("other"), 1), &mut |_| {});
    assert!(
        matches!(used, Err(RestoreError::UsedId { free: 2, .. })),
        "{used:?}"
    );
}

/// The archive at `path` of the records of which the first `forgotten` are not kept, and how many there are.
fn with_base(path: &Path, forgotten: usize, change: impl Fn(Projection) -> Projection) -> Projection {
    let records = chain(Seq(1), RecordHash::ZERO, &[(2, 100); 20]);
    let mut base = Projection::default();
    base.replay(&records[..forgotten]);
    let mut state = base.clone();
    state.replay(&records[forgotten..]);
    let dir = tempfile::tempdir().unwrap();
    checkpoint::write(
        dir.path(),
        &change(base).without_outcomes(),
        &LastWritten::default(),
    )
    .unwrap();
    let (_, bytes) = checkpoint::oldest_from(dir.path(), Seq::ZERO).unwrap().unwrap();
    let mut writer = ArchiveWriter::create(path, CLUSTER).unwrap();
    writer.base(&bytes).unwrap();
    // Files are cut where they are cut, so some of what is forgotten may be there.
    for record in &records[forgotten - 2..] {
        writer.push(record).unwrap();
    }
    writer.finish(&state).unwrap();
    state
}

#[test]
fn an_archive_without_the_first_events_begins_with_a_state_is_proved_from_there_on_and_restored_as_it_was() {
    // given an archive of a cluster that has forgotten its first events
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("a.chv");
    let state = with_base(&path, 8, |base| base);
    // when it is checked, then it says with what it begins, and its state is what its records fold to
    let verified = verify(&path, &mut |_| {}).unwrap();
    assert!(verified.is_sound(), "{:?}", verified.findings);
    assert_eq!(
        (verified.first_seq, verified.base_seq),
        (Some(Seq(13)), Some(Seq(16)))
    );
    assert_eq!((verified.snapshots_compared, verified.snapshots_alone), (1, 0));
    let archive = read(&path, &mut |_| {}, &mut |_| Ok(())).unwrap();
    assert_eq!(archive.state, state);
    // and restored it has that state, and states of the past from where it begins
    let dir = temp.path().join("restored");
    restore(&order(&path, &dir, 2), &mut |_| {}).unwrap();
    let history = History::open(&dir.join(HISTORY), CLUSTER).unwrap();
    let kept = checkpoint::at_or_before(&history, Seq(20)).unwrap();
    assert_eq!(kept, archive.base);
}

/// A state of the same event and hash that says something else of the cluster.
fn another(state: &Projection) -> Projection {
    let stored = stored::encode(state).unwrap();
    let flipped = |at: usize| {
        let mut bytes = stored.clone();
        bytes[at] ^= 1;
        let crc = crc32fast::hash(&bytes[9..]);
        bytes[5..9].copy_from_slice(&crc.to_be_bytes());
        stored::decode::<Projection>(&bytes).ok()
    };
    let same = |other: &Projection| (other.seq(), other.hash()) == (state.seq(), state.hash());
    let mut others = (9..stored.len()).filter_map(flipped);
    others
        .find(|other| same(other) && other.cluster() != state.cluster())
        .unwrap()
}

#[test]
fn a_state_to_begin_with_that_does_not_fit_the_records_or_is_damaged_is_refused() {
    let temp = crate::files::in_memory();
    let path = temp.path().join("a.chv");
    let refused = |what: &str| {
        let verified = verify(&path, &mut |_| {});
        assert!(!verified.is_ok_and(|verified| verified.is_sound()), "{what}");
        let restored = restore(&order(&path, &temp.path().join("restored"), 2), &mut |_| {});
        assert!(restored.is_err(), "{what}");
    };
    // One of another event, and one of that event that holds something else.
    with_base(&path, 8, |_| Projection::default());
    refused("of another event");
    with_base(&path, 8, |base| another(&base.without_outcomes()));
    refused("another state");
    with_base(&path, 8, |base| base);
    let sound = std::fs::read(&path).unwrap();
    for at in 0..sound.len() {
        let mut bad = sound.clone();
        bad[at] ^= 1 << (at % 8);
        std::fs::write(&path, bad).unwrap();
        refused(&format!("byte {at} of {}", sound.len()));
    }
}
