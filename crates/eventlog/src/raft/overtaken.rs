//! The log that a snapshot from the leader overtook, where the process ended before it was purged.
//!
//! openraft purges it at the next start where the log's last entry is before the snapshot's last, and compares terms
//! first. A leader that committed nothing may have left entries of a later term than those that others committed in
//! their place: then it would go on after them, with a hole up to where the snapshot ends.

use super::fit::entry_id;
use super::log_storage::PURGED;
use super::{LogId, RaftError, cant_write};
use crate::files::Dir;
use crate::segment::SegmentStore;

/// Purges the log unless it holds `applied`, the last entry of the newest snapshot, or was purged up to there. Where it
/// does not, no entry of it goes on from that snapshot: those before are in it, and those after, if any, follow another
/// entry than was committed. May be done again where it was broken off. Blocks.
pub(crate) fn purge(
    dir: &Dir,
    store: &mut SegmentStore,
    purged: Option<LogId>,
    applied: Option<LogId>,
) -> Result<(), RaftError> {
    let Some(applied) = applied.filter(|applied| purged.is_none_or(|purged| purged.index < applied.index))
    else {
        return Ok(());
    };
    if entry_id(&store.reader(), applied.index)? == Some(applied) {
        return Ok(());
    }
    tracing::info!(%applied, "the log before the snapshot from the leader is purged");
    // In this order, so that no entry of a wrong history is ever seen to follow the snapshot.
    store.truncate(applied.index + 1).map_err(cant_write)?;
    dir.replace(PURGED, &applied).map_err(cant_write)?;
    store.purge(applied.index).map_err(cant_write)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use chv_domain::ReplicaId;
    use openraft::storage::{RaftLogStorage as _, RaftLogStorageExt as _, RaftStateMachine as _};
    use openraft::testing::blank_ent;
    use openraft::{LogState, StorageHelper};
    use tokio::sync::watch;

    use super::*;
    use crate::open::{LogFiles, SNAPSHOTS, log_files};
    use crate::raft::snapshot::{Origin, Snapshots, State};
    use crate::raft::{Entry, TypeConfig, Vote};

    /// The snapshot's last entry.
    const APPLIED: (u64, u64) = (3, 10);

    fn id((term, index): (u64, u64)) -> LogId {
        entry((term, index)).log_id
    }

    fn entry((term, index): (u64, u64)) -> Entry {
        blank_ent::<TypeConfig>(term, 1, index)
    }

    fn open(dir: &Path) -> LogFiles {
        let dir = Arc::new(Dir::open(dir).unwrap());
        let replica = ReplicaId::new(1).unwrap();
        log_files(dir, replica, 1024, watch::Sender::new(None)).unwrap()
    }

    fn snapshot() -> State {
        State {
            applied: Some(id(APPLIED)),
            ..State::default()
        }
    }

    /// Appends entries of these terms, from the log's beginning on.
    async fn append(files: &mut LogFiles, entries: impl IntoIterator<Item = (u64, u64)>) {
        let entries = entries.into_iter().map(entry).collect::<Vec<_>>();
        files.storage.blocking_append(entries).await.unwrap();
    }

    async fn end(files: LogFiles) {
        files.writer.end(&files.storage.writer().clone()).await;
    }

    fn upto(last: u64) -> impl Iterator<Item = (u64, u64)> {
        (0..=last).map(|index| (APPLIED.0, index))
    }

    /// What a replica has that wrote these entries and a snapshot from the leader, and whose power then went.
    async fn overtaken(dir: &Path, entries: impl IntoIterator<Item = (u64, u64)>) {
        let mut files = open(dir);
        files.storage.save_vote(&Vote::new(6, 3)).await.unwrap();
        append(&mut files, entries).await;
        end(files).await;
        let snapshots = Snapshots::new(Arc::new(Dir::open(&dir.join(SNAPSHOTS)).unwrap()));
        snapshots.write(&snapshot(), Origin::Received).unwrap();
    }

    /// Opens it as Raft does, appends what follows `APPLIED`, and returns the log that there is then.
    async fn go_on(
        dir: &Path,
        next: impl IntoIterator<Item = (u64, u64)>,
    ) -> (LogState<TypeConfig>, Vec<LogId>) {
        let mut files = open(dir);
        let began = StorageHelper::new(&mut files.storage, &mut files.machine);
        { began }.get_initial_state().await.unwrap();
        let state = files.storage.get_log_state().await.unwrap();
        append(&mut files, next).await;
        let entries = files.storage.entries(0, u64::MAX, usize::MAX).await.unwrap();
        end(files).await;
        (state, entries.into_iter().map(|entry| entry.log_id).collect())
    }

    #[tokio::test]
    async fn a_tail_of_a_later_term_that_a_snapshot_overtook_is_not_gone_on_from() {
        // Given a tail that nobody committed, which ends before the snapshot, or goes on where the snapshot ends,
        let tails = [8..=8, 8..=9, 8..=10, 8..=200];
        for tail in tails {
            let temp = tempfile::tempdir().unwrap();
            overtaken(temp.path(), upto(7).chain(tail.map(|index| (5, index)))).await;
            // when the replica starts, and the leader goes on from the snapshot,
            let (state, log) = go_on(temp.path(), [(6, 11), (6, 12)]).await;
            // then the log begins after the snapshot,
            assert_eq!(state.last_purged_log_id, Some(id(APPLIED)));
            assert_eq!(state.last_log_id, Some(id(APPLIED)));
            assert_eq!(log, [id((6, 11)), id((6, 12))]);
            // and that lasts.
            let (state, log) = go_on(temp.path(), [(6, 13)]).await;
            assert_eq!(state.last_log_id, Some(id((6, 12))));
            assert_eq!(log.len(), 3);
        }
    }

    #[tokio::test]
    async fn a_log_that_goes_on_from_a_snapshot_is_kept() {
        let temp = tempfile::tempdir().unwrap();
        overtaken(temp.path(), upto(12)).await;
        let (state, log) = go_on(temp.path(), []).await;
        assert_eq!(state.last_purged_log_id, None);
        assert_eq!(log.len(), 13);
    }

    #[tokio::test]
    async fn a_log_that_ends_before_the_snapshot_in_term_too_is_purged() {
        let temp = tempfile::tempdir().unwrap();
        overtaken(temp.path(), upto(7)).await;
        let (state, log) = go_on(temp.path(), [(6, 11)]).await;
        assert_eq!(state.last_purged_log_id, Some(id(APPLIED)));
        assert_eq!(log, [id((6, 11))]);
    }

    #[tokio::test]
    async fn nothing_is_purged_before_the_snapshot_that_holds_it_is_on_the_disk() {
        // Given a replica that runs, with a tail that nobody committed,
        let temp = tempfile::tempdir().unwrap();
        let mut files = open(temp.path());
        files.storage.save_vote(&Vote::new(6, 3)).await.unwrap();
        append(&mut files, upto(7).chain([(5, 8)])).await;
        // when Raft asks for the purge that goes with a snapshot from the leader,
        let mut storage = files.storage.clone();
        let mut purge = tokio::spawn(async move { storage.purge(id(APPLIED)).await });
        // then that waits, since a power loss now would leave neither,
        let early = tokio::time::timeout(Duration::from_millis(200), &mut purge).await;
        assert!(early.is_err(), "purged before the snapshot is there");
        assert_eq!(
            files.storage.get_log_state().await.unwrap().last_purged_log_id,
            None
        );
        // until the snapshot is there,
        let aside = Snapshots::new(Arc::new(Dir::open(&temp.path().join("leader")).unwrap()));
        let file = aside.write(&snapshot(), Origin::Built).unwrap();
        let file = Box::new(tokio::fs::File::from_std(file));
        files
            .machine
            .install_snapshot(&snapshot().meta(), file)
            .await
            .unwrap();
        purge.await.unwrap().unwrap();
        // and then the log ends where it does, whatever the term of the tail was.
        let state = files.storage.get_log_state().await.unwrap();
        assert_eq!(state.last_log_id, Some(id(APPLIED)));
        append(&mut files, [(6, 11)]).await;
        end(files).await;
    }

    #[tokio::test]
    async fn a_purge_ends_where_the_snapshot_can_not_be_had() {
        // Given a snapshot that does not read,
        let temp = tempfile::tempdir().unwrap();
        let mut files = open(temp.path());
        append(&mut files, upto(7)).await;
        let mut storage = files.storage.clone();
        let purge = tokio::spawn(async move { storage.purge(id(APPLIED)).await });
        // when it is installed,
        let file = Box::new(tokio::fs::File::from_std(tempfile::tempfile().unwrap()));
        let installed = files.machine.install_snapshot(&snapshot().meta(), file).await;
        // then who waits for it is told.
        assert!(installed.is_err());
        assert!(purge.await.unwrap().is_err());
        end(files).await;
    }
}
