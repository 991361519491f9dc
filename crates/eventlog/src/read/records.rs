//! Where the applied records are: in sealed files, and from there on in this replica's log. Nothing else that reads
//! knows where, or what an entry is.
//!
//! What is sealed is looked for first. What is not sealed yet is in the log, which loses only what is sealed: so a
//! hole there means that it was sealed meanwhile, or that it is not here.

use chv_domain::{Projection, Record, RecordHash, Seq, Term, stored};
use openraft::EntryPayload;

use super::ReadError;
use crate::history::HistoryError;
use crate::log::EventLog;
use crate::raft::Entry;

/// How many bytes of the log are read at a time.
const PAGE: usize = 1 << 20;

/// How much is read at once. Reading ends when either is reached, but never before one record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    /// This many records.
    pub(super) records: usize,
    /// About this many bytes of them, as stored.
    pub(super) bytes: usize,
}

impl EventLog {
    /// The applied records from the one that holds `from` to the one that holds `upto`, in order and without a
    /// hole; the first ones of them when they are more than the limit. Empty when `from` is past the end.
    pub(super) async fn records(&self, from: Seq, upto: Seq, limit: Limit) -> Result<Vec<Record>, ReadError> {
        // Taken first: the records up to `end` are those of this state.
        let state = self.projection();
        let end = upto.min(state.seq());
        loop {
            let mut found = self.sealed(from, end, limit).await?;
            let next = found.last().map_or(from, |record| record.last().next());
            // Sizes of sealed records are not known one by one; what came of them counts as enough.
            if next > end || found.len() >= limit.records || (!found.is_empty() && limit.bytes < usize::MAX) {
                return Ok(found);
            }
            let rest = Limit {
                records: limit.records - found.len(),
                ..limit
            };
            match self.logged(next, &state, end, rest).await {
                Ok(more) => {
                    found.extend(more);
                    return Ok(found);
                }
                Err(ReadError::Gone { .. }) if self.inner.history.file_of(next).is_some() => {}
                Err(ReadError::Gone { .. }) if !found.is_empty() => return Ok(found),
                Err(error) => return Err(error),
            }
        }
    }

    /// As [`Self::records`], of what is sealed.
    async fn sealed(&self, from: Seq, end: Seq, limit: Limit) -> Result<Vec<Record>, ReadError> {
        if self.inner.history.file_of(from.max(Seq(1))).is_none() {
            return Ok(Vec::new());
        }
        let history = self.inner.history.clone();
        let read = move || {
            let mut found = history.records(from, limit.records, limit.bytes)?;
            found.retain(|record| record.first <= end);
            Ok::<_, HistoryError>(found)
        };
        let read = tokio::task::spawn_blocking(read).await;
        let failed = |error: &dyn std::fmt::Display| ReadError::Log(error.to_string());
        read.map_err(|error| failed(&error))?
            .map_err(|error| failed(&error))
    }

    /// As [`Self::records`], of what is in the log.
    async fn logged(
        &self,
        from: Seq,
        state: &Projection,
        end: Seq,
        limit: Limit,
    ) -> Result<Vec<Record>, ReadError> {
        let mut found = Vec::new();
        let (mut size, mut at) = (0, self.entry_before(from).await?);
        // A batch that did not continue the chain was dropped when it was applied: so it is here. The first
        // entry looked at holds no such batch.
        let mut prev: Option<RecordHash> = None;
        'log: while found.len() < limit.records && size < limit.bytes {
            let page = self.entries(at, PAGE.min(limit.bytes)).await?;
            let Some(last) = page.last() else { break };
            at = last.log_id.index + 1;
            for record in page.into_iter().flat_map(|entry| continuing(entry, &mut prev)) {
                if record.first > end || found.len() >= limit.records || size >= limit.bytes {
                    break 'log;
                }
                if record.last() >= from {
                    if limit.bytes < usize::MAX {
                        size += stored::encode(&record).map_or(0, |encoded| encoded.len());
                    }
                    found.push(record);
                }
            }
        }
        self.without_hole(from, state, found)
    }

    /// The applied records that are stored together with the one that holds `seq`, which is among them; empty when
    /// it is not here.
    pub(super) async fn stored_with(&self, seq: Seq) -> Result<Vec<Record>, ReadError> {
        let at = self.entry_before(seq).await?;
        let entry = self.entries(at, 1).await?.into_iter().next();
        let records = entry.map(of_its_term).unwrap_or_default();
        let holds = records
            .iter()
            .any(|record| (record.first..=record.last()).contains(&seq));
        if holds {
            return Ok(records);
        }
        let history = self.inner.history.clone();
        let sealed = tokio::task::spawn_blocking(move || history.stored_with(seq)).await;
        let failed = |error: &dyn std::fmt::Display| ReadError::Log(error.to_string());
        sealed
            .map_err(|error| failed(&error))?
            .map_err(|error| failed(&error))
    }

    /// The first event that is here, or will be.
    pub(super) async fn oldest(&self) -> Result<Seq, ReadError> {
        let state = self.projection();
        if !self.inner.storage.was_purged() {
            return Ok(Seq(1));
        }
        let base = self.inner.applied.base.borrow().seq;
        let span = *self.inner.history.span().borrow();
        if let Some(span) = span.filter(|span| span.newest >= base) {
            return Ok(span.oldest);
        }
        let mut at = 0;
        loop {
            let page = self.entries(at, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(state.seq().next());
            };
            at = last.log_id.index + 1;
            if let Some(record) = page.into_iter().flat_map(of_its_term).next() {
                return Ok(record.first);
            }
        }
    }

    /// `found`, unless the log was purged of what should come before it.
    fn without_hole(
        &self,
        from: Seq,
        state: &Projection,
        found: Vec<Record>,
    ) -> Result<Vec<Record>, ReadError> {
        let oldest = found.first().map_or(state.seq().next(), |record| record.first);
        match self.inner.storage.was_purged() && from.max(Seq(1)) < oldest {
            true => Err(ReadError::Gone { oldest }),
            false => Ok(found),
        }
    }

    async fn entries(&self, from: u64, bytes: usize) -> Result<Vec<Entry>, ReadError> {
        let applied = self
            .inner
            .applied
            .entry
            .borrow()
            .map_or(0, |applied| applied.index);
        let entries = self.inner.storage.entries(from, applied + 1, bytes).await;
        entries.map_err(|error| ReadError::Log(error.to_string()))
    }

    /// An entry at or before the one that holds `seq`; without an index, the first.
    async fn entry_before(&self, seq: Seq) -> Result<u64, ReadError> {
        let Some(index) = self.inner.index.borrow().0.clone() else {
            return Ok(0);
        };
        let found = tokio::task::spawn_blocking(move || index.entry_at_or_before(seq)).await;
        Ok(found
            .map_err(|error| ReadError::Log(error.to_string()))??
            .unwrap_or(0))
    }
}

/// The records of an entry that continue the chain after `prev`, all or none, as they were applied.
fn continuing(entry: Entry, prev: &mut Option<RecordHash>) -> Vec<Record> {
    let records = of_its_term(entry);
    let mut chain = *prev;
    let continues = records.iter().all(|record| {
        let before = chain.replace(record.hash());
        !record.events.is_empty() && before.is_none_or(|before| before == record.prev)
    });
    if !continues {
        return Vec::new();
    }
    *prev = chain;
    records
}

/// The records of an entry that were decided in its term; the others were dropped by every replica.
fn of_its_term(entry: Entry) -> Vec<Record> {
    let term = Term(entry.log_id.leader_id.term);
    match entry.payload {
        EntryPayload::Normal(batch) if batch.records.iter().all(|record| record.term == term) => {
            batch.records.clone()
        }
        EntryPayload::Normal(_) | EntryPayload::Blank | EntryPayload::Membership(_) => Vec::new(),
    }
}
