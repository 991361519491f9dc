//! Archives of directories that replicas wrote, what damage does to them, and clusters that begin with one.

use std::net::SocketAddr;
use std::path::Path;

use chv_domain::{ClusterId, CommandId, Record, ReplicaId, Seq, Timestamp};

use super::*;
use crate::offline::tests::rig::{EVENTS, begin, events, open, written};
use crate::offline::{self, ClosedDir};

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
