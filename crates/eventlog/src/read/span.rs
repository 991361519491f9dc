//! From when to when: the seqs that a search's beginning and times stand for.

use chv_domain::{Seq, Timestamp};

use super::{Kept, Limit, ReadError, Search};
use crate::index::Order;
use crate::log::EventLog;

/// How many records are looked at at a time for one of a given time.
const LOOK: Limit = Limit {
    records: 512,
    bytes: usize::MAX,
};

/// The events to look at: from `low` to `high`, both included; none when `low` is the larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) low: Seq,
    pub(super) high: Seq,
}

impl Span {
    pub(super) fn is_empty(self) -> bool {
        self.low > self.high
    }
}

impl EventLog {
    /// The events that `search` speaks of. Refused when it speaks of some that are not here any more.
    pub(super) async fn span(&self, search: &Search, kept: Kept) -> Result<Span, ReadError> {
        let gone = |wanted: Seq| match wanted < kept.oldest {
            true => Err(self.missing(kept.oldest)),
            false => Ok(wanted),
        };
        let mut span = Span {
            low: kept.oldest,
            high: kept.last,
        };
        match (search.order, search.begin) {
            (Order::OldestFirst, Some(begin)) => span.low = gone(begin.max(Seq(1)))?,
            // Before the first event nothing was ever gone.
            (Order::NewestFirst, Some(Seq::ZERO)) => span.high = Seq::ZERO,
            (Order::NewestFirst, Some(begin)) => span.high = gone(begin)?.min(kept.last),
            (_, None) => {}
        }
        if let Some(until) = search.until {
            let first = self.first_since(until, kept).await?;
            span.high = span.high.min(Seq(first.0.saturating_sub(1)));
        }
        if let Some(since) = search.since {
            let first = self.first_since(since, kept).await?;
            // What was before the oldest may have been of that time, too.
            let all_there = first > kept.oldest || kept.oldest <= Seq(1);
            if search.order == Order::OldestFirst && search.begin.is_none() && !all_there {
                return Err(self.missing(kept.oldest));
            }
            span.low = span.low.max(first);
        }
        Ok(span)
    }

    /// The first event of `time` or later; the one after the last when there is none.
    pub(crate) async fn first_since(&self, time: Timestamp, kept: Kept) -> Result<Seq, ReadError> {
        let (index, _) = self.index_with(kept.last).await?;
        let found = tokio::task::spawn_blocking(move || index.before(time)).await;
        let before = found.map_err(|error| ReadError::Log(error.to_string()))??;
        let mut from = before.unwrap_or(kept.oldest).max(kept.oldest);
        loop {
            let page = self.records(from, kept.last, LOOK).await?;
            if let Some(record) = page.iter().find(|record| record.time >= time) {
                return Ok(record.first);
            }
            match page.last() {
                Some(last) => from = last.last().next(),
                None => return Ok(kept.last.next()),
            }
        }
    }
}
