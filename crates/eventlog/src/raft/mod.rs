//! What openraft asks of a replica: its types, its log over the segment files, and its state machine, which is
//! the projection.

pub(crate) mod fit;
pub(crate) mod flush;
pub(crate) mod foreseen;
pub(crate) mod incoming;
pub(crate) mod log_storage;
mod newest;
pub(crate) mod overtaken;
#[cfg(test)]
mod read_tests;
pub(crate) mod reading;
pub(crate) mod snapshot;
pub(crate) mod snapshot_file;
pub(crate) mod state_machine;
pub(crate) mod stopwatch;
#[cfg(test)]
mod suite;
pub(crate) mod writer;

use std::sync::Arc;

use bytes::Bytes;
use chv_domain::stored::{self, StoredError};
use chv_domain::{Batch, BatchOutcome};
use openraft::{BasicNode, EntryPayload, StorageError, StorageIOError};

/// About how many bytes an entry takes beside its records.
const AROUND: usize = 128;

openraft::declare_raft_types!(
    /// A batch an entry; the answer says what came of it, `None` for Raft's own entries.
    pub(crate) TypeConfig:
        D = Arc<Batch>,
        R = Option<BatchOutcome>,
        NodeId = u64,
        Node = BasicNode,
        SnapshotData = tokio::fs::File,
);

pub(crate) type Entry = openraft::Entry<TypeConfig>;
pub(crate) type LogId = openraft::LogId<u64>;
pub(crate) type Vote = openraft::Vote<u64>;
pub(crate) type Membership = openraft::StoredMembership<u64, BasicNode>;
pub(crate) type RaftError = StorageError<u64>;

/// Reading the log failed.
pub(crate) fn cant_read(error: impl std::error::Error + 'static) -> RaftError {
    StorageIOError::read_logs(&error).into()
}

/// Writing the log failed.
pub(crate) fn cant_write(error: impl std::error::Error + 'static) -> RaftError {
    StorageIOError::write_logs(&error).into()
}

/// An entry as it is stored, and as it goes to the others.
pub(crate) fn encode(entry: &Entry) -> Result<Bytes, StoredError> {
    let size = match &entry.payload {
        EntryPayload::Normal(batch) => batch.stored_size() + AROUND,
        EntryPayload::Blank | EntryPayload::Membership(_) => AROUND,
    };
    stored::encode_about(entry, size).map(Bytes::from)
}

/// An entry out of its stored form.
pub(crate) fn decode(payload: &[u8]) -> Result<Entry, RaftError> {
    stored::decode(payload).map_err(cant_read)
}
