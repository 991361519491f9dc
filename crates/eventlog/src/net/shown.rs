//! What a leader says to be committed, as long as its own disk does not have it.

use std::time::Duration;

use crate::raft::LogId;
use crate::raft::log_storage::LogStorage;

/// How long to wait for the own disk before a follower is told that entries are committed.
const FLUSH: Duration = Duration::from_millis(5);

/// How far a leader shows a follower that the log is committed: never further than its own disk has it, since Raft
/// is told that the leader's entries are flushed before they are.
pub(super) struct Shown {
    pub(super) log: LogStorage,
    pub(super) committed: Option<LogId>,
}

impl Shown {
    /// What to say instead of `committed`. Waits a little where nothing else would tell the follower soon.
    pub(super) async fn of(&mut self, committed: Option<LogId>, more_to_come: bool) -> Option<LogId> {
        let Some(now) = committed else {
            return self.committed;
        };
        if !more_to_come && !self.log.is_flushed(now.index) {
            // A slow disk must not hold up heartbeats.
            let _ = tokio::time::timeout(FLUSH, self.log.flushed(now.index)).await;
        }
        if self.log.is_flushed(now.index) {
            self.committed = committed;
        }
        self.committed
    }
}
