//! Where the applied records are: in sealed files, and from there on in this replica's log. Nothing else that reads
//! knows where, or what an entry is.
//!
//! What is sealed is looked for first. What is not sealed yet is in the log, which loses only what is sealed: so a
//! hole there means that it was sealed meanwhile, or that it is not here.

use chv_domain::{Projection, Record, Seq};

use super::ReadError;
use crate::chain::{self, Chain};
use crate::history::HistoryError;
use crate::log::EventLog;
use crate::raft::Entry;

/// How many bytes of the log are read at a time.
const PAGE: usize = 1 << 20;

/// How many bytes are looked at at a time for the first record.
const LOOK: usize = 64 << 10;

/// How much is read at once. Reading ends when either is reached, but never before one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// This many records.
    pub records: usize,
    /// About this many bytes of them, as stored.
    pub bytes: usize,
}

impl EventLog {
    /// The applied records from the one that holds `from` to the one that holds `upto`, in order and without a
    /// hole; the first ones of them when they are more than the limit. Empty when `from` is past the end.
    pub(crate) async fn records(&self, from: Seq, upto: Seq, limit: Limit) -> Result<Vec<Record>, ReadError> {
        // Taken first: the records up to `end` are those of this state.
        let state = self.projection();
        let end = upto.min(state.seq());
        let (mut found, mut size, mut next) = (Vec::new(), 0, from);
        while next <= end {
            let rest = Limit {
                records: limit.records - found.len(),
                bytes: limit.bytes - size,
            };
            let sealed = self.sealed(next, end, rest).await?;
            if let Some(last) = sealed.last() {
                next = last.last().next();
                size += sealed.iter().map(|record| record.stored().len()).sum::<usize>();
                found.extend(sealed);
                if found.len() >= limit.records || size >= limit.bytes {
                    return Ok(found);
                }
                // There may be more in the next sealed file.
                continue;
            }
            match self.logged(next, &state, end, rest).await {
                Ok(more) => {
                    found.extend(more);
                    return Ok(found);
                }
                Err(ReadError::Gone { .. } | ReadError::Elsewhere { .. })
                    if self.inner.history.file_of(next).is_some() => {}
                Err(ReadError::Gone { .. } | ReadError::Elsewhere { .. }) if !found.is_empty() => {
                    return Ok(found);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found)
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
        // The first entry looked at holds no batch that was dropped.
        let mut chain = Chain::unknown();
        'log: while found.len() < limit.records && size < limit.bytes {
            let page = self.entries(at, PAGE.min(limit.bytes)).await?;
            let Some(last) = page.last() else { break };
            at = last.log_id.index + 1;
            for record in page.iter().flat_map(|entry| applied(entry, &mut chain)) {
                if record.first > end || found.len() >= limit.records || size >= limit.bytes {
                    break 'log;
                }
                if record.last() >= from {
                    size += record.stored().len();
                    found.push(record);
                }
            }
        }
        self.without_hole(from, state, found)
    }

    /// The first event that is kept and is here, or will be.
    pub(super) async fn oldest(&self) -> Result<Seq, ReadError> {
        let kept = self.projection().cluster().oldest_kept();
        Ok(self.oldest_here().await?.max(kept))
    }

    async fn oldest_here(&self) -> Result<Seq, ReadError> {
        let state = self.projection();
        if !self.inner.storage.was_purged() {
            return Ok(Seq(1));
        }
        let base = self.inner.applied.base.borrow().seq;
        let span = *self.inner.history.span().borrow();
        if let Some(span) = span.filter(|span| span.newest >= base) {
            return Ok(span.oldest);
        }
        // A snapshot can be of more than is sealed: what the log has leads on from there.
        let logged = self.first_logged().await?.unwrap_or(state.seq().next());
        Ok(span
            .filter(|span| span.newest.next() >= logged)
            .map_or(logged, |span| span.oldest))
    }

    /// The first event of the first record that the log has.
    async fn first_logged(&self) -> Result<Option<Seq>, ReadError> {
        let mut at = 0;
        loop {
            let page = self.entries(at, LOOK).await?;
            let Some(last) = page.last() else {
                return Ok(None);
            };
            at = last.log_id.index + 1;
            let mut chain = Chain::unknown();
            if let Some(record) = page.iter().flat_map(|entry| applied(entry, &mut chain)).next() {
                return Ok(Some(record.first));
            }
        }
    }

    /// Why there is nothing before `oldest` here.
    pub(crate) fn missing(&self, oldest: Seq) -> ReadError {
        match self.projection().cluster().forgotten() {
            Some(forgotten) if oldest <= forgotten.upto.next() => ReadError::Gone {
                oldest: forgotten.upto.next(),
                since: forgotten.kept_from,
            },
            _ => ReadError::Elsewhere { oldest },
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
            true => Err(self.missing(oldest)),
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
        let Some(index) = self.inner.index.borrow().index.clone() else {
            return Ok(0);
        };
        let found = tokio::task::spawn_blocking(move || index.entry_at_or_before(seq)).await;
        Ok(found
            .map_err(|error| ReadError::Log(error.to_string()))??
            .unwrap_or(0))
    }
}

/// The records of an entry that were applied.
fn applied(entry: &Entry, chain: &mut Chain) -> Vec<Record> {
    match chain.takes(entry) {
        // A record is cheap to clone.
        true => chain::records(entry).to_vec(),
        false => Vec::new(),
    }
}
