//! Reading Raft's log: out of memory what is there, off the disk what is not. Nothing is changed here.

use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};

use openraft::{OptionalSend, RaftLogReader};

use super::log_storage::LogStorage;
use super::{Entry, LogId, RaftError, TypeConfig, cant_read, decode};

/// How many entries a follower is sent without a look at what it has.
const LONG: u64 = 256;

/// How many bytes are taken out of memory at a time, as stored: whoever appends waits meanwhile.
const HAND_BYTES: usize = 256 << 10;

/// How many bytes one read of the log returns about; replication asks for the rest.
pub(crate) const READ_BYTES: usize = 4 << 20;

impl LogStorage {
    /// The entries of `from..to` that are on the disk, ending early after about `bytes`. Blocks.
    pub(crate) fn stored(&self, from: u64, to: u64, bytes: usize) -> Result<Vec<Entry>, RaftError> {
        let stored = self.reader.read(from..to, bytes).map_err(cant_read)?;
        stored.iter().map(|entry| decode(&entry.payload)).collect()
    }

    /// As [`Self::stored`], out of memory where they are there. They must be known to be on the disk.
    pub(crate) fn at_hand(&self, from: u64, to: u64, bytes: usize) -> Result<Vec<Entry>, RaftError> {
        let (kept_from, kept) = self.kept(from, to, bytes.min(HAND_BYTES));
        match from < kept_from {
            true => self.stored(from, to, bytes),
            false => Ok(kept),
        }
    }

    /// Where the entries in memory begin, and those of `from..to`, ending early after about `bytes`.
    fn kept(&self, from: u64, to: u64, bytes: usize) -> (u64, Vec<Entry>) {
        self.lock().range(from, to, bytes)
    }

    /// The entries of `from..to` for a follower; of a long range the last one alone. What it has of the others is asked
    /// before they are read: see [`crate::net`].
    async fn of_range(&self, from: u64, to: u64) -> Result<Vec<Entry>, RaftError> {
        let from = match to.saturating_sub(from) > LONG {
            true => to - 1,
            false => from,
        };
        self.entries(from, to, READ_BYTES).await
    }

    /// Whether the log has just this entry.
    pub(crate) async fn has(&self, id: LogId) -> Result<bool, RaftError> {
        if id.index < self.first_index() || self.last().is_none_or(|last| last.index < id.index) {
            return Ok(false);
        }
        let found = self.entries(id.index, id.index + 1, 1).await?;
        Ok(found.first().is_some_and(|entry| entry.log_id == id))
    }

    /// The entries of `from..to` that there are, ending early after about `bytes`.
    pub(crate) async fn entries(&self, from: u64, to: u64, bytes: usize) -> Result<Vec<Entry>, RaftError> {
        // First what is in memory, together with where that begins: entries leave memory meanwhile, and what is
        // looked for there only after the disk was read may have gone to where nobody looks any more.
        let (kept_from, kept) = self.kept(from, to, bytes);
        let mut found = Vec::new();
        if from < kept_from {
            let (reader, end) = (self.reader.clone(), to.min(kept_from));
            let read = tokio::task::spawn_blocking(move || {
                let stored = reader.read(from..end, bytes).map_err(cant_read)?;
                stored
                    .iter()
                    .map(|entry| decode(&entry.payload))
                    .collect::<Result<Vec<_>, _>>()
            });
            found = read.await.map_err(cant_read)??;
            // Cut short by its size; what is in memory does not follow it.
            if found.last().is_some_and(|last| last.log_id.index + 1 < end) {
                return Ok(found);
            }
        }
        found.extend(kept);
        Ok(found)
    }
}

impl RaftLogReader<TypeConfig> for LogStorage {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, RaftError> {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(from) => from + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(to) => to + 1,
            Bound::Excluded(to) => *to,
            Bound::Unbounded => u64::MAX,
        };
        self.entries(from, to, usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, from: u64, to: u64) -> Result<Vec<Entry>, RaftError> {
        self.of_range(from, to).await
    }
}
