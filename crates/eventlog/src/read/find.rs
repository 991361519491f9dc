//! Reading the records that a search finds, page by page, upward or downward.

use std::time::Duration;

use chv_domain::{Record, Seq};

use super::span::Span;
use super::{Kept, Limit, ReadError, Search};
use crate::index::{Index, Met, Order, Term};
use crate::log::EventLog;

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
        let Met { hits, next } = self.hits(terms, order, span, kept, limit).await?;
        let full = hits.len() >= limit.records;
        let (mut found, mut size) = (Vec::new(), 0);
        // Many commands are stored together: they are read once for all of their records.
        let mut held: Vec<Record> = Vec::new();
        for hit in hits {
            if size >= limit.bytes && !found.is_empty() {
                let next = after(&found, order);
                return Ok((found, next));
            }
            if let Some(record) = self.record_at(hit, &mut held).await? {
                size += record.stored().len();
                found.push(record);
            }
        }
        // A record is known by its first event: going on must not begin in the middle of one.
        let next = match (next, order) {
            (Some(_), _) if full => after(&found, order),
            (Some(at), Order::NewestFirst) => {
                self.record_at(at, &mut held).await?.map(|record| record.last())
            }
            (next, _) => next,
        };
        Ok((found, next))
    }

    /// The record that begins with `first`, out of `held`, which is replaced when it is not there.
    async fn record_at(&self, first: Seq, held: &mut Vec<Record>) -> Result<Option<Record>, ReadError> {
        let at = |held: &[Record]| held.binary_search_by_key(&first, |record| record.first).ok();
        if at(held).is_none() {
            *held = self.stored_with(first).await?;
        }
        Ok(at(held).map(|at| held[at].clone()))
    }

    async fn hits(
        &self,
        terms: &[Term],
        order: Order,
        span: Span,
        kept: Kept,
        limit: Limit,
    ) -> Result<Met, ReadError> {
        // Records are known by their first event, which may be before the span.
        let one = Limit {
            records: 1,
            bytes: usize::MAX,
        };
        let low = self.records(span.low, span.low, one).await?;
        let low = low.first().map_or(span.low, |record| record.first);
        let (from, to) = match order {
            Order::OldestFirst => (low, span.high),
            Order::NewestFirst => (span.high, low),
        };
        let index = self.index_with(kept.last).await?;
        let terms = terms.to_vec();
        let covered = {
            let index = index.clone();
            tokio::task::spawn_blocking(move || index.from()).await
        };
        let oldest = covered.map_err(|error| ReadError::Log(error.to_string()))??;
        // What the index leaves out is not answered with a hole.
        if low < oldest {
            return Err(ReadError::Elsewhere { oldest });
        }
        let found =
            tokio::task::spawn_blocking(move || index.find(&terms, order, (from, to), limit.records)).await;
        Ok(found.map_err(|error| ReadError::Log(error.to_string()))??)
    }

    /// The index, once it has the event `seq`.
    pub(super) async fn index_with(&self, seq: Seq) -> Result<Index, ReadError> {
        let mut reached = self.inner.index.clone();
        reached.borrow().wanted.notify_one();
        let ready = reached.wait_for(|reached| reached.index.is_some() && reached.health.seq >= seq);
        match tokio::time::timeout(PATIENCE, ready).await {
            Ok(Ok(held)) => held.index.clone().ok_or(ReadError::NotReady),
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
