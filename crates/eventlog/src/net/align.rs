//! What of the log a follower is sent. A new leader does not know how far the follower's log goes, and Raft would find
//! out by sending from the middle of the log on; so the follower is asked, and is sent what it does not have.
//!
//! Whether it has the rest is still checked by its Raft: what is sent names the entry before.

use std::io;
use std::time::Duration;

use openraft::raft::AppendEntriesRequest;

use super::message::{Ask, Told};
use super::peer::Peer;
use crate::raft::log_storage::LogStorage;
use crate::raft::reading::READ_BYTES;
use crate::raft::{LogId, RaftError, TypeConfig};

type Request = AppendEntriesRequest<TypeConfig>;

/// Whether the log's reader left the entries before the last one to be read here: see [`LogStorage::of_range`].
pub(super) fn is_last_alone(request: &Request) -> bool {
    let next = request.prev_log_id.map_or(0, |before| before.index + 1);
    request
        .entries
        .first()
        .is_some_and(|first| first.log_id.index > next)
}

/// The last entry that a follower has once it has taken `request`.
pub(super) fn end(request: &Request) -> Option<LogId> {
    let last = request.entries.last().map(|entry| entry.log_id);
    last.or(request.prev_log_id)
}

/// Makes `request`, which is to bring a follower to `upto`, begin where that one's log ends, at `theirs`. Without
/// that, it begins where Raft said.
pub(super) async fn align(
    log: &LogStorage,
    request: &mut Request,
    upto: LogId,
    theirs: Option<Option<LogId>>,
) -> Result<(), RaftError> {
    let index = |id: Option<LogId>| id.map(|id| id.index);
    if let Some(theirs) = theirs
        && index(theirs) < index(request.prev_log_id)
    {
        // It can't take these: it says so without them, and Raft looks further back.
        request.entries.clear();
        return Ok(());
    }
    let mut from = request.prev_log_id;
    if let Some(Some(theirs)) = theirs
        && Some(theirs.index) > index(from)
        && log.has(theirs).await?
    {
        // Logs that have the same entry are the same before it too.
        from = Some(theirs.min(upto));
    }
    if from == request.prev_log_id && !is_last_alone(request) {
        return Ok(());
    }
    let next = from.map_or(0, |from| from.index + 1);
    request.prev_log_id = from;
    request.entries = match next > upto.index {
        true => Vec::new(),
        false => log.entries(next, upto.index + 1, READ_BYTES).await?,
    };
    Ok(())
}

impl Peer {
    /// Where the follower's log ends.
    pub(super) async fn log_end(&mut self, patience: Duration) -> io::Result<Option<LogId>> {
        match self.ask(Ask::LogEnd(()), patience).await? {
            Told::LogEnd(end) => Ok(end.last()),
            _ => Err(io::Error::other("an answer to another question")),
        }
    }
}
