//! The newest entries of Raft's log, in memory: they are replicated before they are on the disk.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeBounds;

use bytes::Bytes;

use super::{Entry, LogId, Vote};

/// How many of the newest entries are kept in memory.
const KEPT: usize = 512;

/// How many bytes of them, as stored; in memory they take several times as much.
const KEPT_BYTES: usize = 8 << 20;

/// How many of them, and how many bytes, while they are not in history yet: to read and decode them again costs several times what
/// sealing them does, just when the replica has no time for it.
const UNSEALED: usize = 16 << 10;
const UNSEALED_BYTES: usize = 32 << 20;

/// The newest entries, and where the log begins and ends.
#[derive(Default)]
pub(super) struct Newest {
    /// Each with its stored form.
    entries: BTreeMap<u64, (Entry, Bytes)>,
    /// The size of all of them, as stored.
    bytes: usize,
    /// The last entry that history has taken in.
    sealed: u64,
    /// The stored form of entries that are about to be appended.
    pub(super) arrived: VecDeque<(LogId, Bytes)>,
    pub(super) last: Option<LogId>,
    pub(super) purged: Option<LogId>,
    pub(super) vote: Option<Vote>,
}

impl Newest {
    /// Of a log that was opened: nothing is in memory yet.
    pub(super) fn new(last: Option<LogId>, purged: Option<LogId>, vote: Option<Vote>) -> Self {
        Self {
            last,
            purged,
            vote,
            ..Self::default()
        }
    }

    /// Where the entries in memory begin, and those of `from..to`, ending early after about `bytes`.
    pub(super) fn range(&self, from: u64, to: u64, bytes: usize) -> (u64, Vec<Entry>) {
        let kept_from = self.entries.keys().next().copied().unwrap_or(u64::MAX);
        let mut size = 0;
        let within = |(_, stored): &&(Entry, Bytes)| {
            size += stored.len();
            size <= bytes.max(stored.len())
        };
        let range = from.max(kept_from)..to.max(from).max(kept_from);
        let kept = self.entries.range(range).map(|(_, kept)| kept);
        let kept = kept.take_while(within).map(|(entry, _)| entry.clone());
        (kept_from, kept.collect())
    }

    /// Lets go of the oldest entries in memory, of those that are on the disk; they are to be dropped without a lock.
    #[must_use]
    pub(super) fn forget(&mut self, flushed: u64) -> Vec<Entry> {
        let mut forgotten = Vec::new();
        let mut count = self.entries.len();
        while let Some(oldest) = self.entries.first_entry() {
            let index = *oldest.key();
            let many = match index <= self.sealed {
                true => count > KEPT || self.bytes > KEPT_BYTES,
                false => count > UNSEALED || self.bytes > UNSEALED_BYTES,
            };
            if index > flushed || !many {
                break;
            }
            let (entry, stored) = oldest.remove();
            self.bytes -= stored.len();
            count -= 1;
            forgotten.push(entry);
        }
        forgotten
    }

    /// History has taken in the entries up to this one, which are on the disk: as [`Self::forget`]. It may take them in
    /// again later, then from the disk.
    #[must_use]
    pub(super) fn sealed(&mut self, upto: u64) -> Vec<Entry> {
        self.sealed = self.sealed.max(upto);
        self.forget(upto)
    }

    pub(super) fn keep(&mut self, entry: Entry, stored: Bytes) {
        let index = entry.log_id.index;
        self.bytes += stored.len();
        if let Some((_, before)) = self.entries.insert(index, (entry, stored)) {
            self.bytes -= before.len();
        }
    }

    /// The stored form that an entry came in, if it did. Entries are appended in the order in which they came.
    pub(super) fn take_arrived(&mut self, id: LogId) -> Option<Bytes> {
        while let Some((arrived, stored)) = self.arrived.pop_front() {
            if arrived == id {
                return Some(stored);
            }
        }
        None
    }

    /// The stored form of an entry that is in memory.
    pub(super) fn stored(&self, id: LogId) -> Option<Bytes> {
        let (entry, stored) = self.entries.get(&id.index)?;
        (entry.log_id == id).then(|| stored.clone())
    }

    /// Keeps only the entries of `range`.
    pub(super) fn keep_only(&mut self, range: impl RangeBounds<u64>) {
        self.entries.retain(|index, _| range.contains(index));
        self.bytes = self.entries.values().map(|(_, stored)| stored.len()).sum();
    }
}

#[cfg(test)]
mod tests {
    use openraft::{EntryPayload, LeaderId};

    use super::*;

    fn id(index: u64) -> LogId {
        LogId::new(LeaderId::new(3, 1), index)
    }

    fn of(entries: impl IntoIterator<Item = (u64, usize)>) -> Newest {
        let mut newest = Newest::default();
        for (index, size) in entries {
            let payload = EntryPayload::Blank;
            let entry = Entry {
                log_id: id(index),
                payload,
            };
            newest.keep(entry, vec![0; size].into());
        }
        newest
    }

    fn first(newest: &Newest) -> u64 {
        newest.range(0, u64::MAX, usize::MAX).0
    }

    #[test]
    fn what_is_not_in_history_yet_stays_longer_and_what_is_not_on_the_disk_stays() {
        const MIB: usize = 1 << 20;
        // Given more than is kept of what is in history, of which none is,
        let mut newest = of((1..=20).map(|index| (index, MIB)));
        // then all of it stays,
        drop(newest.forget(20));
        assert_eq!(first(&newest), 1);
        // and what is in history by then goes, but for what is kept anyhow.
        drop(newest.sealed(4));
        drop(newest.forget(20));
        assert_eq!(first(&newest), 5);
        drop(newest.sealed(20));
        drop(newest.forget(20));
        assert_eq!(first(&newest), 13);
        // There is a bound, but what is not on the disk is nowhere else.
        let mut newest = of((1..=40).map(|index| (index, MIB)));
        drop(newest.forget(3));
        assert_eq!(first(&newest), 4);
        drop(newest.forget(40));
        assert_eq!(first(&newest), 9);
    }

    #[test]
    fn an_entry_is_stored_as_it_came_and_only_that_one() {
        let arrived = [(5, "five"), (6, "six"), (7, "seven")];
        let mut newest = Newest {
            arrived: arrived.map(|(index, stored)| (id(index), stored.into())).into(),
            ..Newest::default()
        };
        assert_eq!(newest.take_arrived(id(6)).as_deref(), Some(&b"six"[..]));
        assert_eq!(newest.take_arrived(id(5)), None);
        assert_eq!(newest.take_arrived(id(7)), None);
    }
}
