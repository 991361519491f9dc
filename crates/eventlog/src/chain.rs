//! Which batches of the log were applied: every replica drops one that was decided in another term than its
//! entry's, or that does not continue the chain of records.

use chv_domain::{Record, RecordHash, Seq, Term};
use openraft::EntryPayload;

use crate::raft::Entry;

/// Where the chain of records stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chain {
    /// The last record's last event and its hash; `None` when the first batch is known to have been applied.
    at: Option<(Seq, RecordHash)>,
}

impl Chain {
    /// After this event of the record with this hash.
    pub(crate) const fn at(seq: Seq, hash: RecordHash) -> Self {
        Self {
            at: Some((seq, hash)),
        }
    }

    /// Somewhere: the first batch of its entry's term that is met is taken for applied.
    pub(crate) const fn unknown() -> Self {
        Self { at: None }
    }

    /// The last event and its record's hash.
    pub(crate) fn end(self) -> (Seq, RecordHash) {
        self.at.unwrap_or_default()
    }

    /// The records of `entry` that were applied; none when they were dropped. The chain then ends with them.
    pub(crate) fn applied<'a>(&mut self, entry: &'a Entry) -> &'a [Record] {
        match self.takes(entry) {
            true => records(entry),
            false => &[],
        }
    }

    /// Whether the records of `entry` were applied; the chain then ends with them.
    pub(crate) fn takes(&mut self, entry: &Entry) -> bool {
        let EntryPayload::Normal(batch) = &entry.payload else {
            return false;
        };
        let term = Term(entry.log_id.leader_id.term);
        let mut next = self.at;
        for record in &batch.records {
            let continues = next.is_none_or(|(seq, hash)| record.first == seq.next() && record.prev == hash);
            if record.term != term || !continues || record.events.is_empty() {
                return false;
            }
            next = Some((record.last(), record.hash()));
        }
        self.at = next;
        true
    }
}

/// The records of an entry; none for Raft's own entries.
pub(crate) fn records(entry: &Entry) -> &[Record] {
    match &entry.payload {
        EntryPayload::Normal(batch) => &batch.records,
        EntryPayload::Blank | EntryPayload::Membership(_) => &[],
    }
}
