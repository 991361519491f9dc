//! Reading downward. The log is read upward in pages, so a page is read from where it must begin at the latest.

use chv_domain::{Record, Seq};

use super::span::Span;
use super::{Limit, ReadError};
use crate::log::EventLog;

impl EventLog {
    /// The applied records of `span`, the newest first; the newest of them when they are more than the limit,
    /// but never fewer than one.
    pub(super) async fn records_backward(&self, span: Span, limit: Limit) -> Result<Vec<Record>, ReadError> {
        if span.is_empty() {
            return Ok(Vec::new());
        }
        // A record has an event at least, so so many events are at least as many records as are wanted, or all.
        let events = u64::try_from(limit.records).unwrap_or(u64::MAX);
        let mut from = span.low.max(Seq((span.high.0 + 1).saturating_sub(events)));
        let mut found = std::collections::VecDeque::new();
        let mut size = 0;
        while from <= span.high {
            let page = self.records(from, span.high, limit).await?;
            let Some(last) = page.last() else { break };
            from = last.last().next();
            for record in page {
                size += record.stored().len();
                found.push_back(record);
                while found.len() > limit.records.max(1) || (size > limit.bytes && found.len() > 1) {
                    size -= found
                        .pop_front()
                        .map_or(0, |record: Record| record.stored().len());
                }
            }
        }
        Ok(found.into_iter().rev().collect())
    }
}
