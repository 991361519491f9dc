//! A replica's disk: what a power loss takes is what was not flushed.

use std::rc::Rc;

use chv_domain::{Batch, Projection, Record};

use crate::chance::Chance;

/// A term and who leads in it: as openraft 0.9 has it, several leaders can follow each other in a term, in the
/// order of their numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ballot {
    pub(crate) term: u64,
    pub(crate) replica: usize,
}

/// An entry's identity: no two entries ever have the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LogId {
    pub(crate) ballot: Ballot,
    pub(crate) index: u64,
}

/// An entry; without a batch it only says that a leader began.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: LogId,
    pub(crate) batch: Option<Batch>,
}

/// The state after an entry, with the records that led to it.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) last: LogId,
    pub(crate) state: Projection,
    pub(crate) records: Vec<Rc<Record>>,
}

/// What a replica said last in an election, always flushed before it is said.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Vote {
    pub(crate) ballot: Ballot,
    /// Whether a majority voted so.
    pub(crate) committed: bool,
}

/// What is in the files.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    pub(crate) vote: Vote,
    pub(crate) snapshot: Option<Rc<Snapshot>>,
    /// The last entry that is not in the log any more, but in the snapshot.
    pub(crate) purged: LogId,
    log: Vec<Rc<Entry>>,
    flushed: u64,
    writes: u64,
    pending: Vec<(u64, u64)>,
}

impl Disk {
    pub(crate) fn last(&self) -> LogId {
        self.log.last().map_or(self.purged, |entry| entry.id)
    }

    /// Everything up to this entry is on the disk.
    pub(crate) const fn flushed(&self) -> u64 {
        self.flushed
    }

    pub(crate) fn all_flushed(&self) -> bool {
        self.flushed >= self.last().index
    }

    fn at(&self, index: u64) -> Option<usize> {
        let at = index.checked_sub(self.purged.index + 1)?;
        usize::try_from(at).ok()
    }

    pub(crate) fn entry(&self, index: u64) -> Option<&Rc<Entry>> {
        self.log.get(self.at(index)?)
    }

    /// The identity of the entry at `index`, when it is known.
    pub(crate) fn id(&self, index: u64) -> Option<LogId> {
        match index == self.purged.index {
            true => Some(self.purged),
            false => self.entry(index).map(|entry| entry.id),
        }
    }

    /// The entries from `from` on, at most `most`.
    pub(crate) fn entries(&self, from: u64, most: usize) -> Vec<Rc<Entry>> {
        let at = self.at(from).unwrap_or(self.log.len());
        self.log.iter().skip(at).take(most).cloned().collect()
    }

    /// Writes an entry after the last; returns which write has to be flushed.
    pub(crate) fn append(&mut self, entry: Rc<Entry>) -> u64 {
        self.writes += 1;
        self.pending.push((self.writes, entry.id.index));
        self.log.push(entry);
        self.writes
    }

    /// A write, and all before it, is on the disk.
    pub(crate) fn flush(&mut self, write: u64) {
        self.pending.retain(|(pending, upto)| {
            if *pending <= write {
                self.flushed = self.flushed.max(*upto);
            }
            *pending > write
        });
    }

    /// Cuts the log before `since`; flushed, with what is left.
    pub(crate) fn truncate(&mut self, since: u64) {
        let at = self.at(since).unwrap_or(0);
        self.log.truncate(at);
        self.pending.clear();
        self.flushed = self.last().index;
    }

    /// Keeps a snapshot, flushed, and lets go of entries up to `purge`, which it holds.
    pub(crate) fn keep(&mut self, snapshot: Rc<Snapshot>, purge: LogId) {
        if self.id(purge.index) == Some(purge) {
            let cut = self.at(purge.index + 1).unwrap_or(0);
            self.log.drain(..cut);
        } else {
            self.log.clear();
            self.pending.clear();
        }
        self.purged = purge;
        self.flushed = self.flushed.max(purge.index);
        self.snapshot = Some(snapshot);
    }

    /// The process is gone; with the power, also some or all of what was not flushed.
    pub(crate) fn crash(&mut self, power: bool, chance: &mut Chance) {
        if power {
            let last = self.last().index;
            let left = match chance.is(600) {
                true => self.flushed,
                false => chance.pick(self.flushed..last + 1),
            };
            let at = self.at(left + 1).unwrap_or(0);
            self.log.truncate(at);
        }
        self.pending.clear();
        self.flushed = self.last().index;
    }
}
