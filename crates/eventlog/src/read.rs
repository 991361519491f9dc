//! Reading events back: in order from any seq, or those that a query finds.

use std::time::Duration;

use chv_domain::{Projection, Record, RecordHash, Seq, Term, stored};
use openraft::EntryPayload;

use crate::index::{Index, IndexError, Query};
use crate::log::EventLog;
use crate::raft::Entry;

/// How long a query waits for the index to have what is applied.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many bytes of the log are read at a time.
const PAGE: usize = 1 << 20;

/// Why events can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The log.
    #[error("the log can't be read: {0}")]
    Log(String),
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The events from there on are not in this replica's log any more, or never were: it was given a snapshot.
    #[error("this replica's log begins with event {oldest}; read from there on, or ask another replica")]
    Gone {
        /// The first event that it has, or will have.
        oldest: Seq,
    },
    /// The index is being made again, or is behind.
    #[error("the index of events is not ready yet; ask again")]
    NotReady,
}

impl EventLog {
    /// The applied records with events from `from` on, in order; ends after `records` of them or about `bytes`,
    /// but never before one. Empty when there are none yet.
    pub async fn read(&self, from: Seq, records: usize, bytes: usize) -> Result<Vec<Record>, ReadError> {
        // Taken together: the records up to `end` are those of this state.
        let state = self.projection();
        let mut found = Vec::new();
        let (mut size, mut at) = (0, self.entry_before(from).await?);
        // A batch that did not continue the chain was dropped when it was applied: so it is here. The first
        // entry looked at holds no such batch.
        let mut prev: Option<RecordHash> = None;
        while found.len() < records && size < bytes {
            let page = self.entries(at, PAGE).await?;
            let Some(last) = page.last() else { break };
            at = last.log_id.index + 1;
            for record in page.iter().flat_map(|entry| continuing(entry, &mut prev)) {
                if record.first > state.seq() || found.len() >= records || size >= bytes {
                    return self.without_hole(from, &state, found);
                }
                if record.last() >= from {
                    size += stored::encode(record).map_or(0, |encoded| encoded.len());
                    found.push(record.clone());
                }
            }
        }
        self.without_hole(from, &state, found)
    }

    /// The applied records that `query` finds, with events from `from` on, in order; at most `limit`, and no more
    /// after about `bytes`, but never fewer than one. Fewer than `limit` doesn't mean that there are no more.
    pub async fn find(
        &self,
        query: Query,
        from: Seq,
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<Record>, ReadError> {
        let state = self.projection();
        let oldest = self.oldest(&state).await?;
        if from.max(Seq(1)) < oldest {
            return Err(ReadError::Gone { oldest });
        }
        let index = self.index_with(&state).await?;
        let hits = {
            let query = query.clone();
            let found = tokio::task::spawn_blocking(move || index.find(&query, from, limit)).await;
            found.map_err(|error| ReadError::Log(error.to_string()))??
        };
        let (mut found, mut size) = (Vec::new(), 0);
        // Many commands share an entry: it is read once for all of its records.
        let mut held: Option<Entry> = None;
        for (at, first) in hits {
            if held.as_ref().is_none_or(|entry| entry.log_id.index != at) {
                held = self
                    .entries(at, 1)
                    .await?
                    .into_iter()
                    .next()
                    .filter(|entry| entry.log_id.index == at);
            }
            let records = held.as_ref().map_or(&[][..], of_its_term);
            let record = records.iter().find(|record| record.first == first);
            let Some(record) = record.filter(|record| record.last() >= from && record.first <= state.seq())
            else {
                continue;
            };
            size += stored::encode(record).map_or(0, |encoded| encoded.len());
            found.push(record.clone());
            if found.len() >= limit || size >= bytes {
                break;
            }
        }
        Ok(found)
    }

    /// The first event that is in the log, or will be.
    async fn oldest(&self, state: &Projection) -> Result<Seq, ReadError> {
        if !self.inner.storage.was_purged() {
            return Ok(Seq(1));
        }
        let mut at = 0;
        loop {
            let page = self.entries(at, PAGE).await?;
            if let Some(record) = page.iter().flat_map(of_its_term).next() {
                return Ok(record.first);
            }
            match page.last() {
                Some(last) => at = last.log_id.index + 1,
                None => return Ok(state.seq().next()),
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

    /// The index, once it has all that `state` has.
    async fn index_with(&self, state: &Projection) -> Result<Index, ReadError> {
        let mut reached = self.inner.index.clone();
        let ready = reached.wait_for(|(index, seq)| index.is_some() && *seq >= state.seq());
        match tokio::time::timeout(PATIENCE, ready).await {
            Ok(Ok(held)) => held.0.clone().ok_or(ReadError::NotReady),
            Ok(Err(_)) | Err(_) => Err(ReadError::NotReady),
        }
    }
}

/// The records of an entry that continue the chain after `prev`, all or none, as they were applied.
fn continuing<'a>(entry: &'a Entry, prev: &mut Option<RecordHash>) -> &'a [Record] {
    let records = of_its_term(entry);
    let mut chain = *prev;
    let continues = records.iter().all(|record| {
        let before = chain.replace(record.hash());
        !record.events.is_empty() && before.is_none_or(|before| before == record.prev)
    });
    if !continues {
        return &[];
    }
    *prev = chain;
    records
}

/// The records of an entry that were decided in its term; the others were dropped by every replica.
fn of_its_term(entry: &Entry) -> &[Record] {
    let term = Term(entry.log_id.leader_id.term);
    match &entry.payload {
        EntryPayload::Normal(batch) if batch.records.iter().all(|record| record.term == term) => {
            &batch.records
        }
        EntryPayload::Normal(_) | EntryPayload::Blank | EntryPayload::Membership(_) => &[],
    }
}
