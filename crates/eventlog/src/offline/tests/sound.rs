//! Directories with nothing wrong.

use chv_domain::{RecordHash, Seq};

use super::rig::{EVENTS, begin, copy, written};
use crate::IdentityError;
use crate::offline::{ClosedDir, OfflineError, inspect, verify};

#[tokio::test]
async fn a_whole_log_is_proved_and_its_snapshot_is_what_it_folds_to() {
    // given a replica that ended
    let temp = written(false).await;
    // when its directory is checked
    let mut told = Vec::new();
    let dir = ClosedDir::open(temp.path()).unwrap();
    let verified = verify(&dir, &mut |progress| told.push(progress));
    // then every record is vouched for, and the snapshot too
    assert!(verified.is_sound(), "{:?}", verified.findings);
    assert_eq!(
        (verified.first_seq, verified.last_seq),
        (Some(Seq(1)), Seq(EVENTS))
    );
    assert_eq!((verified.records, verified.dropped), (EVENTS, 0));
    assert_eq!((verified.snapshots_compared, verified.snapshots_alone), (1, 0));
    assert_ne!(verified.last_hash, RecordHash::ZERO);
    assert!(told.len() > 2 && told.is_sorted_by_key(|progress| progress.done));
    assert_eq!(told.last().map(|last| last.done == last.total), Some(true));
    // and who looks at it sees the same end
    let found = inspect(&dir);
    let last = found.last.unwrap();
    assert_eq!((last.seq, last.hash), (verified.last_seq, verified.last_hash));
    assert!(found.findings.is_empty());
    assert_eq!(found.snapshots[0].seq, Seq(EVENTS / 2));
    assert!(found.segments.len() > 2 && found.vote.is_some_and(|vote| vote.won));
    assert!(found.sizes.segments > 0 && found.sizes.total > found.sizes.segments);
}

#[tokio::test]
async fn a_purged_log_is_proved_from_its_snapshot_on() {
    let temp = written(true).await;
    let dir = ClosedDir::open(temp.path()).unwrap();
    let verified = verify(&dir, &mut |_| {});
    assert!(verified.is_sound(), "{:?}", verified.findings);
    let after = Seq(EVENTS / 2 + 1);
    assert_eq!(
        (verified.first_seq, verified.last_seq),
        (Some(after), Seq(EVENTS))
    );
    let found = inspect(&dir);
    assert_eq!(found.purged.unwrap().entry + 1, found.log.unwrap().first);
}

#[tokio::test]
async fn looking_changes_nothing_and_needs_no_right_to_write() {
    use std::os::unix::fs::PermissionsExt;
    let (temp, copied) = (written(false).await, tempfile::tempdir().unwrap());
    copy(temp.path(), copied.path());
    let bytes = |path: &std::path::Path| {
        let files = super::rig::files_of(path).into_iter();
        files.map(|file| std::fs::read(file).unwrap()).collect::<Vec<_>>()
    };
    let before = bytes(copied.path());
    let mode = |mode| std::fs::set_permissions(copied.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o555);
    let dir = ClosedDir::open(copied.path()).unwrap();
    let (found, verified) = (inspect(&dir), verify(&dir, &mut |_| {}));
    mode(0o755);
    assert!(found.findings.is_empty() && verified.is_sound());
    assert_eq!(bytes(copied.path()), before);
}

#[tokio::test]
async fn a_directory_in_use_or_of_nobody_is_not_looked_at() {
    let temp = written(false).await;
    let held = ClosedDir::open(temp.path()).unwrap();
    assert!(matches!(
        ClosedDir::open(temp.path()),
        Err(OfflineError::InUse(_))
    ));
    drop(held);
    let nobodys = tempfile::tempdir().unwrap();
    for path in [nobodys.path().to_owned(), nobodys.path().join("missing")] {
        let refused = ClosedDir::open(&path);
        assert!(matches!(
            refused,
            Err(OfflineError::Identity(IdentityError::Missing(_)))
        ));
        assert!(!path.join("segments").exists());
    }
}

#[tokio::test]
async fn what_a_replica_begins_with_is_what_was_proved() {
    for purged in [false, true] {
        let temp = written(purged).await;
        let begun = begin(temp.path()).await.unwrap();
        assert_eq!(begun.seq, Seq(EVENTS));
    }
}
