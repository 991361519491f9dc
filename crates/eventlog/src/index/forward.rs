//! Takes what the log has after all that the index has, a page at a time. Where the log begins later, it goes on from
//! there, and what is between is left to [`super::fill`]: whatever the log lost is sealed, here or on other replicas.

use chv_domain::{Record, RecordHash, Seq};
use openraft::EntryPayload;
use tracing::info;

use super::verify::blocking;
use super::{Index, IndexError, Mark};
use crate::chain::{self, Chain};
use crate::history::History;
use crate::raft::log_storage::LogStorage;
use crate::raft::state_machine::Applied;
use crate::raft::{Entry, RaftError};

/// How many bytes of the log are taken in at a time.
const PAGE: usize = 4 << 20;

/// What the index is made from.
#[derive(Clone)]
pub(crate) struct Sources {
    pub(crate) log: LogStorage,
    pub(crate) history: History,
    pub(crate) applied: Applied,
}

/// Why a step was not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    #[error("the log can't be read: {0}")]
    Log(#[from] RaftError),
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The index goes further than the log's beginning, which is not what it was made from.
    #[error("the index does not lead to where the log begins")]
    Differs,
}

impl Sources {
    /// Takes a page of the entries up to `end` in, after `mark`. How far the index goes then; `None` when the log is not
    /// there yet.
    pub(super) async fn step(&self, index: &Index, mark: Mark, end: u64) -> Result<Option<Mark>, StepError> {
        let page = self.log.entries(mark.entry + 1, end + 1, PAGE).await?;
        if page.first().map(|entry| entry.log_id.index) != Some(mark.entry + 1) {
            return self.skip(index, mark).await;
        }
        let into = index.clone();
        Ok(Some(blocking(move || take_in(&into, &page, mark)).await?))
    }

    /// Goes on where the log begins, which is after `mark`.
    async fn skip(&self, index: &Index, mark: Mark) -> Result<Option<Mark>, StepError> {
        let Some(start) = self.start().await?.filter(|start| start.entry > mark.entry) else {
            return Ok(None);
        };
        match start.seq.cmp(&mark.seq) {
            std::cmp::Ordering::Equal if start.hash == mark.hash => {}
            std::cmp::Ordering::Greater => {
                info!(from = %mark.seq, to = %start.seq, "the index takes what the log has not from sealed history");
                let (from, into) = (start.seq.next(), index.clone());
                blocking(move || into.leave_out_before(from)).await?;
            }
            _ => return Err(StepError::Differs),
        }
        Ok(Some(start))
    }

    /// Before the first record that the log still has. `None` while a snapshot takes the place of what it had.
    async fn start(&self) -> Result<Option<Mark>, RaftError> {
        let purged = self.log.first_index().saturating_sub(1);
        let applied = self.applied.entry.borrow().map_or(0, |applied| applied.index);
        // Raft purges the log while it installs a snapshot, so what led to there may not be told yet.
        if applied < purged {
            return Ok(None);
        }
        let (mut next, mut held) = (purged + 1, Held::default());
        while next <= applied {
            let page = self.log.entries(next, applied + 1, PAGE).await?;
            let Some(last) = page.last().filter(|_| page[0].log_id.index == next) else {
                return Ok(None);
            };
            next = last.log_id.index + 1;
            page.iter().for_each(|entry| held.take(entry));
        }
        // What the log lost was all in the snapshot that the state was taken from, or is sealed.
        let base = *self.applied.base.borrow();
        let sealed = (*self.history.span().borrow()).filter(|sealed| sealed.newest > base.seq);
        let known = sealed.map_or((base.seq, base.hash), |sealed| (sealed.newest, sealed.hash));
        let (seq, hash) = held.after(known);
        Ok(Some(Mark {
            entry: purged,
            seq,
            hash,
        }))
    }

    /// Whether sealed history, or the log, holds at `mark` what it says.
    pub(super) async fn holds(&self, mark: Mark) -> Result<bool, StepError> {
        let is_it = |record: &Record| (record.last(), record.hash()) == (mark.seq, mark.hash);
        let history = self.history.clone();
        let sealed = blocking(move || {
            // What does not read is set aside, and may be in the log.
            Ok(history.records(mark.seq, 1, usize::MAX).unwrap_or_default())
        });
        if let Some(record) = sealed.await?.first() {
            return Ok(is_it(record));
        }
        let mut from = mark.entry;
        loop {
            let entry = self.log.entries(from, from + 1, usize::MAX).await?.pop();
            let Some(entry) = entry.filter(|entry| entry.log_id.index == from) else {
                return Ok(false);
            };
            if let EntryPayload::Normal(batch) = &entry.payload
                && let Some(last) = batch.records.last()
                && last.last() <= mark.seq
            {
                return Ok(is_it(last));
            }
            // Raft's own entries, and batches that were dropped, say nothing about the chain.
            let Some(before) = from.checked_sub(1) else {
                return Ok(false);
            };
            from = before;
        }
    }
}

/// What a log holds whose beginning is gone.
struct Held {
    chain: Chain,
    /// The event before the first record, and its record's hash.
    after: Option<(Seq, RecordHash)>,
}

impl Default for Held {
    fn default() -> Self {
        Self {
            chain: Chain::unknown(),
            after: None,
        }
    }
}

impl Held {
    fn take(&mut self, entry: &Entry) {
        let Some(first) = chain::records(entry).first() else {
            return;
        };
        let is_after_a_gap = self.after.is_some() && first.first > self.chain.end().0.next();
        if is_after_a_gap && Chain::unknown().takes(entry) {
            // What was taken for the first was an older one, which had been dropped.
            *self = Self::default();
        }
        if self.chain.takes(entry) {
            let before = Seq(first.first.0.saturating_sub(1));
            self.after.get_or_insert((before, first.prev));
        }
    }

    /// After which event its records come, where the event of `known` was applied for certain.
    fn after(self, known: (Seq, RecordHash)) -> (Seq, RecordHash) {
        // It leads there or beyond, unless all that it has is older and was dropped.
        self.after
            .filter(|_| self.chain.end().0 >= known.0)
            .unwrap_or(known)
    }
}

fn take_in(index: &Index, page: &[Entry], mut mark: Mark) -> Result<Mark, IndexError> {
    let mut chain = Chain::at(mark.seq, mark.hash);
    let mut records = Vec::new();
    for entry in page {
        let of = chain.applied(entry).iter();
        records.extend(of.map(|record| (entry.log_id.index, record)));
        mark.entry = entry.log_id.index;
    }
    (mark.seq, mark.hash) = chain.end();
    index.add(&records, mark)?;
    Ok(mark)
}
