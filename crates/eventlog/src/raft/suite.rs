//! openraft's own tests of a log and a state machine, on ours.

use std::sync::Arc;

use chv_domain::ReplicaId;
use openraft::testing::{StoreBuilder, Suite};
use tempfile::TempDir;
use tokio::sync::watch;

use super::log_storage::LogStorage;
use super::snapshot::{Snapshots, State};
use super::state_machine::StateMachine;
use super::writer::Writer;
use super::{RaftError, TypeConfig};
use crate::files::Dir;
use crate::segment::SegmentStore;

/// The suite applies entries that it never put into the log, so the state machine is not told of one.
struct InATempDir;

impl StoreBuilder<TypeConfig, LogStorage, StateMachine, TempDir> for InATempDir {
    async fn build(&self) -> Result<(TempDir, LogStorage, StateMachine), RaftError> {
        let temp = TempDir::new().unwrap();
        let dir = Arc::new(Dir::open(temp.path()).unwrap());
        let store = SegmentStore::open(Arc::clone(&dir), 1 << 20, 0).unwrap();
        let reader = store.reader();
        let (writer, _) = Writer::start(store, watch::Sender::new(None)).unwrap();
        let storage = LogStorage::open(Arc::clone(&dir), ReplicaId::new(1).unwrap(), writer, reader)?;
        // The suite purges what no snapshot holds.
        storage.in_snapshot(u64::MAX);
        let machine = StateMachine::new(State::default(), Snapshots::new(dir), None);
        Ok((temp, storage, machine))
    }
}

#[test]
fn openraft_finds_nothing_wrong_with_the_storage() {
    Suite::test_all(InATempDir).unwrap();
}
