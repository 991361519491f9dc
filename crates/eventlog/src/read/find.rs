//! Reading the records that a search finds, page by page, upward or downward.

use std::time::Duration;

use chv_domain::{Record, Seq};

use super::span::Span;
use super::{Kept, Limit, ReadError, Search};
use crate::index::{Index, IndexError, Order, Places, Term};
use crate::log::EventLog;

/// How many blocks one search reads before it says where to go on.
const BLOCKS: usize = 64;

/// How many of the newest events are looked at one by one where the index can't take them in.
const UNINDEXED: u64 = 4096;

/// How long a search waits for the index to have what is applied.
const PATIENCE: Duration = Duration::from_secs(5);

/// A page of what a search finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Whole records, in the search's order. The first and the last may have events outside of `low..=high`.
    pub records: Vec<Record>,
    /// The least event that was asked for.
    pub low: Seq,
    /// The largest.
    pub high: Seq,
    /// The event to go on with; `None` when there are no more.
    pub next: Option<Seq>,
    /// Which events this replica had then.
    pub kept: Kept,
}

impl EventLog {
    /// The applied records that `search` finds, in its order; the first ones when they are more than `limit`, but
    /// never none of them unless the index had to look at very many: only `next` says whether there are more.
    pub async fn find(&self, search: &Search, limit: Limit) -> Result<Found, ReadError> {
        let kept = self.kept().await?;
        let span = self.span(search, kept).await?;
        let (records, next) = match (&search.terms()[..], search.order) {
            _ if span.is_empty() => (Vec::new(), None),
            ([], Order::OldestFirst) => {
                let records = self.records(span.low, span.high, limit).await?;
                let next = after(&records, search.order);
                (records, next)
            }
            ([], Order::NewestFirst) => {
                let records = self.records_backward(span, limit).await?;
                let next = after(&records, search.order);
                (records, next)
            }
            (terms, order) => self.indexed(terms, order, span, kept, limit).await?,
        };
        Ok(Found {
            records,
            low: span.low,
            high: span.high,
            next: next.filter(|next| (span.low..=span.high).contains(next)),
            kept,
        })
    }

    /// The records of `span` that all of `terms` find, and where to go on.
    async fn indexed(
        &self,
        terms: &[Term],
        order: Order,
        span: Span,
        kept: Kept,
        limit: Limit,
    ) -> Result<(Vec<Record>, Option<Seq>), ReadError> {
        let span = self.whole_records(span).await?;
        let places = self.places(terms, order, span, kept, limit).await?;
        let (mut found, mut size): (Vec<Record>, usize) = (Vec::new(), 0);
        for (low, high) in places.spans {
            let (low, high) = (low.max(span.low), high.min(span.high));
            // No more records than events, and so not many.
            let whole = Limit {
                records: usize::try_from(high.0 - low.0)
                    .unwrap_or(usize::MAX)
                    .saturating_add(1),
                bytes: usize::MAX,
            };
            let mut page = self.records(low, high, whole).await?;
            if order == Order::NewestFirst {
                page.reverse();
            }
            for record in page {
                // One that goes from a block into the next may be in both.
                let again = found
                    .last()
                    .is_some_and(|last| !order.is_after(record.first, last.first));
                if again || !terms.iter().all(|term| term.finds(&record)) {
                    continue;
                }
                if found.len() >= limit.records || (size >= limit.bytes && !found.is_empty()) {
                    let next = after(&found, order);
                    return Ok((found, next));
                }
                size += record.stored().len();
                found.push(record);
            }
        }
        // Going on must not begin in the middle of a record that was found.
        let next = match (places.next, after(&found, order)) {
            (Some(block), Some(record)) if order.is_after(record, block) => Some(record),
            (next, _) => next,
        };
        Ok((found, next))
    }

    /// The blocks in which to look for records of `span`.
    async fn places(
        &self,
        terms: &[Term],
        order: Order,
        span: Span,
        kept: Kept,
        limit: Limit,
    ) -> Result<Places, ReadError> {
        let ends = match order {
            Order::OldestFirst => (span.low, span.high),
            Order::NewestFirst => (span.high, span.low),
        };
        let (index, reached) = self.index_with(kept.last).await?;
        let (terms, most) = (terms.to_vec(), limit.records.clamp(1, BLOCKS));
        let looked = tokio::task::spawn_blocking(move || {
            // Meanwhile it may take in what it left out, and leave out what is forgotten.
            let before = index.from()?;
            let places = index.find(&terms, order, ends, most)?;
            Ok::<_, IndexError>((places, before.max(index.from()?)))
        });
        let (places, oldest) = looked
            .await
            .map_err(|error| ReadError::Log(error.to_string()))??;
        // What the index leaves out is not answered with a hole.
        match span.low < oldest {
            true => Err(self.missing(oldest)),
            false => Ok(places.and_all_after(reached, (span.low, span.high), order)),
        }
    }

    /// The span from the beginning of its first record to the end of its last: they are found by all of their events.
    async fn whole_records(&self, span: Span) -> Result<Span, ReadError> {
        let (first, last) = (
            self.record_with(span.low).await?,
            self.record_with(span.high).await?,
        );
        Ok(Span {
            low: first.map_or(span.low, |record| record.first),
            high: last.map_or(span.high, |record| record.last()),
        })
    }

    async fn record_with(&self, seq: Seq) -> Result<Option<Record>, ReadError> {
        let one = Limit {
            records: 1,
            bytes: usize::MAX,
        };
        Ok(self.records(seq, seq, one).await?.pop())
    }

    /// The index, once it has the event `seq`, or nearly all up to there where it can't be written; and the last event that
    /// it has.
    pub(super) async fn index_with(&self, seq: Seq) -> Result<(Index, Seq), ReadError> {
        let mut reached = self.inner.index.clone();
        reached.borrow().wanted.notify_one();
        let ready = reached.wait_for(|reached| {
            let lacks = match self.inner.disk.writable() {
                Ok(()) => 0,
                Err(_) => UNINDEXED,
            };
            reached.index.is_some() && reached.health.seq.0 + lacks >= seq.0
        });
        match tokio::time::timeout(PATIENCE, ready).await {
            Ok(Ok(held)) => {
                let index = held.index.clone().ok_or(ReadError::NotReady)?;
                Ok((index, held.health.seq))
            }
            Ok(Err(_)) | Err(_) => Err(ReadError::NotReady),
        }
    }
}

/// The event after the last of `records`, in this order.
fn after(records: &[Record], order: Order) -> Option<Seq> {
    let last = records.last()?;
    order.after(match order {
        Order::OldestFirst => last.last(),
        Order::NewestFirst => last.first,
    })
}
