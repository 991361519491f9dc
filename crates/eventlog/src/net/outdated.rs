//! A peer that writes what this version does not know: the replica stops, instead of skipping it.

use std::io;

use chv_domain::stored::StoredError;
use chv_domain::{FORMAT, ReplicaId};
use tokio::sync::watch;

/// Why this version can't go on with the others: an entry holds what it does not know. Nothing of that entry or of
/// those after it was stored or applied, so a version that knows it goes on where this one stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "replica {from} sent an entry that this version does not know: it writes record format {theirs}, and this program \
     knows up to {FORMAT} ({what}). Nothing was skipped: start a version that knows format {theirs} on the same data"
)]
pub struct Outdated {
    /// The peer that sent it.
    pub from: ReplicaId,
    /// The highest record format that it knows.
    pub theirs: u32,
    /// What was not known.
    pub what: String,
}

/// Whom to tell.
pub(crate) type Tell = watch::Sender<Option<Outdated>>;

/// What `error` says of the version of the peer `from`; `None` when it says nothing of it.
pub(super) fn of(error: &io::Error, from: u64, theirs: u32) -> Option<Outdated> {
    let stored = error.get_ref()?.downcast_ref::<StoredError>()?;
    // A checksum that does not match is damage on the way, which the next try does not have.
    let newer = matches!(stored, StoredError::Body(_) | StoredError::Version { .. });
    let from = ReplicaId::new(from).filter(|_| newer)?;
    Some(Outdated {
        from,
        theirs,
        what: stored.to_string(),
    })
}
