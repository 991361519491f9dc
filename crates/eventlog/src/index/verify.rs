//! Compares the whole index with the log, block by block and slowly. What the log has and the index has not is found,
//! anywhere, and in full blocks also what the index has too much.

use std::time::{Duration, Instant};

use chv_domain::Seq;
use tracing::debug;

use super::block::{Anchor, Block, Blocks, Number};
use super::{Index, IndexError, Mark, keys};
use crate::chain::{self, Chain};
use crate::raft::Entry;
use crate::raft::log_storage::LogStorage;

/// How many bytes of the log are compared at a time.
const PAGE: usize = 1 << 20;

/// After a page, a pause of so many times what it took: others need the disk and the processor more.
const PAUSE: u32 = 9;

/// What came of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The index holds what the log says, up to this event.
    Agrees(Seq),
    /// It doesn't.
    Differs,
    /// The log was cut meanwhile, or can't be read.
    Unknown,
}

/// A comparison under way.
struct Comparison {
    index: Index,
    /// What the index goes up to.
    mark: Mark,
    /// What it leaves out is before this.
    from: Seq,
    chain: Chain,
    /// The first event that was compared.
    oldest: Option<Seq>,
    blocks: Blocks,
}

/// Compares what the index has up to its mark.
pub(super) async fn compare(index: &Index, log: &LogStorage) -> Result<Verdict, IndexError> {
    let (mark, from) = {
        let index = index.clone();
        blocking(move || Ok((index.mark()?, index.from()?))).await?
    };
    let mut comparison = Comparison {
        index: index.clone(),
        mark,
        from,
        chain: Chain::unknown(),
        oldest: None,
        blocks: Blocks::default(),
    };
    // The log may reach back further than the index, and the index further than the log.
    let mut next = None;
    while next.is_none_or(|next| next <= mark.entry) {
        let began = Instant::now();
        let page = match log.entries(next.unwrap_or(0), mark.entry + 1, PAGE).await {
            Ok(page) => page,
            Err(error) => {
                debug!(%error, "not compared");
                return Ok(Verdict::Unknown);
            }
        };
        let (Some(first), Some(last)) = (page.first(), page.last()) else {
            return Ok(Verdict::Unknown);
        };
        if next.is_some_and(|next| next != first.log_id.index) {
            return Ok(Verdict::Unknown);
        }
        next = Some(last.log_id.index + 1);
        let agrees;
        (comparison, agrees) = blocking(move || {
            let agrees = comparison.page(&page)?;
            Ok((comparison, agrees))
        })
        .await?;
        if !agrees {
            return Ok(Verdict::Differs);
        }
        tokio::time::sleep(began.elapsed() * PAUSE).await;
    }
    Ok(match blocking(move || comparison.end()).await? {
        true => Verdict::Agrees(mark.seq),
        false => Verdict::Differs,
    })
}

impl Comparison {
    /// Whether the index has what these entries say.
    fn page(&mut self, page: &[Entry]) -> Result<bool, IndexError> {
        let mut agrees = true;
        for entry in page {
            if !self.chain.takes(entry) {
                continue;
            }
            let records = chain::records(entry);
            if records.first().is_none_or(|first| first.first < self.from) {
                continue;
            }
            for record in records {
                let oldest = *self.oldest.get_or_insert(record.first);
                let (index, mark) = (&self.index, self.mark);
                self.blocks.take(entry.log_id.index, record, |number, block| {
                    agrees &= index.agrees(number, &block, (oldest, mark.seq))?;
                    Ok::<_, IndexError>(())
                })?;
                if let Some(key) = keys::time(record) {
                    agrees &= index.has_time(&key)?;
                }
            }
        }
        Ok(agrees)
    }

    /// Whether the index has the last block.
    fn end(self) -> Result<bool, IndexError> {
        let span = (self.oldest.unwrap_or(self.from), self.mark.seq);
        match self.blocks.end() {
            Some((number, block)) => self.index.agrees(number, &block, span),
            None => Ok(true),
        }
    }
}

impl Index {
    /// Whether it has of the block what the log has, of which the events of `span` were looked at.
    fn agrees(&self, number: Number, log: &Block, (oldest, last): (Seq, Seq)) -> Result<bool, IndexError> {
        let held = self.block(number)?.unwrap_or_default();
        let from_its_start = oldest <= number.first().max(Seq(1));
        let anchored = match from_its_start {
            true => held.anchor == log.anchor,
            // It may begin with a record that was not looked at.
            false => log
                .anchor
                .is_none_or(|at| held.anchor.is_some_and(|held: Anchor| held <= at)),
        };
        let agrees = anchored
            && match from_its_start && number.last() <= last {
                true => held.prints == log.prints,
                false => held.holds(log),
            };
        if !agrees {
            debug!(?number, "the index differs");
        }
        Ok(agrees)
    }

    fn has_time(&self, key: &[u8]) -> Result<bool, IndexError> {
        self.opened
            .times
            .contains_key(key)
            .map_err(|error| self.failed(error))
    }
}

/// Runs what blocks on the disk.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, IndexError> + Send + 'static,
) -> Result<T, IndexError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(IndexError {
            path: std::path::PathBuf::new(),
            why: error.to_string(),
        }),
    }
}

/// How long to wait for the next comparison.
pub(super) const NEXT: Duration = Duration::from_secs(24 * 3600);
