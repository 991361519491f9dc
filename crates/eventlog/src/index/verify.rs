//! Compares the whole index with what it is made from, block by block and slowly: the log, and sealed history before it.
//! What they have and the index has not is found, anywhere, and in full blocks also what the index has too much.

use std::time::{Duration, Instant};

use chv_domain::{Record, Seq};
use tracing::debug;

use super::block::{Block, Blocks, Number};
use super::{Index, IndexError, Mark, Sources, keys};
use crate::chain::Chain;
use crate::raft::Entry;

/// How many bytes of the log are compared at a time.
const PAGE: usize = 1 << 20;

/// After a page, a pause of so many times what it took: others need the disk and the processor more.
const PAUSE: u32 = 9;

/// What came of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The index holds what it should, up to this event.
    Agrees(Seq),
    /// It doesn't.
    Differs,
    /// The log was cut meanwhile, or what is to be compared can't be read, or is not here.
    Unknown,
}

/// The index, of which a run of records is compared.
struct Comparison {
    index: Index,
    /// What it leaves out is before this.
    from: Seq,
    /// The last event to compare.
    upto: Seq,
    /// The first one that was.
    oldest: Option<Seq>,
    blocks: Blocks,
}

/// Compares what the index has up to its mark.
pub(super) async fn compare(index: &Index, sources: &Sources) -> Result<Verdict, IndexError> {
    let (mark, from) = {
        let index = index.clone();
        blocking(move || Ok((index.mark()?, index.from()?))).await?
    };
    // First the log: what goes from it meanwhile is sealed.
    let verdict = match with_log(Comparison::of(index, from, mark.seq), sources, mark).await? {
        Verdict::Agrees(oldest) => {
            let before = Seq(oldest.0.saturating_sub(1));
            with_history(Comparison::of(index, from, before), sources).await?
        }
        verdict => verdict,
    };
    let index = index.clone();
    // What it leaves out since then it may have dropped.
    let left_out = blocking(move || Ok(index.from()? > from)).await?;
    Ok(match verdict {
        Verdict::Agrees(_) => Verdict::Agrees(mark.seq),
        Verdict::Differs if left_out => Verdict::Unknown,
        verdict => verdict,
    })
}

/// Compares all that the log has; it agrees from the event on that is told.
async fn with_log(mut comparison: Comparison, sources: &Sources, mark: Mark) -> Result<Verdict, IndexError> {
    let mut chain = Chain::unknown();
    // The log may reach back further than the index, and the index further than the log.
    let mut next = None;
    while next.is_none_or(|next| next <= mark.entry) {
        let began = Instant::now();
        let page = match sources.log.entries(next.unwrap_or(0), mark.entry + 1, PAGE).await {
            Ok(page) => page,
            Err(error) => {
                debug!(%error, "not compared");
                return Ok(Verdict::Unknown);
            }
        };
        let (Some(first), Some(last)) = (page.first(), page.last()) else {
            match next {
                // All that the index has is sealed.
                None if sources.log.first_index() > mark.entry => break,
                _ => return Ok(Verdict::Unknown),
            }
        };
        if next.is_some_and(|next| next != first.log_id.index) {
            return Ok(Verdict::Unknown);
        }
        next = Some(last.log_id.index + 1);
        let agrees;
        (comparison, chain, agrees) = blocking(move || {
            let agrees = comparison.logged(&page, &mut chain)?;
            Ok((comparison, chain, agrees))
        })
        .await?;
        if !agrees {
            return Ok(Verdict::Differs);
        }
        tokio::time::sleep(began.elapsed() * PAUSE).await;
    }
    let oldest = comparison.oldest.unwrap_or(mark.seq.next());
    Ok(match blocking(move || comparison.end()).await? {
        true => Verdict::Agrees(oldest),
        false => Verdict::Differs,
    })
}

/// Compares what is sealed.
async fn with_history(mut comparison: Comparison, sources: &Sources) -> Result<Verdict, IndexError> {
    let (mut next, upto) = (comparison.from, comparison.upto);
    while next <= upto {
        let (began, history) = (Instant::now(), sources.history.clone());
        let compared;
        (comparison, compared) = blocking(move || {
            let records = match history.stored_with(next) {
                Ok(records) => records,
                Err(error) => {
                    debug!(%error, "not compared");
                    return Ok((comparison, None));
                }
            };
            let records = records.iter().filter(|record| record.last() >= next);
            let mut last = None;
            for record in records {
                if !comparison.take(None, record)? {
                    return Ok((comparison, Some(Verdict::Differs)));
                }
                last = Some(record.last());
            }
            Ok((comparison, last.map(Verdict::Agrees)))
        })
        .await?;
        match compared {
            Some(Verdict::Agrees(last)) => next = last.next(),
            Some(verdict) => return Ok(verdict),
            None => return Ok(Verdict::Unknown),
        }
        tokio::time::sleep(began.elapsed() * PAUSE).await;
    }
    Ok(match blocking(move || comparison.end()).await? {
        true => Verdict::Agrees(upto),
        false => Verdict::Differs,
    })
}

impl Comparison {
    fn of(index: &Index, from: Seq, upto: Seq) -> Self {
        Self {
            index: index.clone(),
            from,
            upto,
            oldest: None,
            blocks: Blocks::default(),
        }
    }

    /// Whether the index has what these entries say.
    fn logged(&mut self, page: &[Entry], chain: &mut Chain) -> Result<bool, IndexError> {
        for entry in page {
            for record in chain.applied(entry) {
                if !self.take(Some(entry.log_id.index), record)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Whether the index has the blocks that end before this record, and its time.
    fn take(&mut self, entry: Option<u64>, record: &Record) -> Result<bool, IndexError> {
        if record.first < self.from || record.first > self.upto {
            return Ok(true);
        }
        let oldest = *self.oldest.get_or_insert(record.first);
        let (index, upto) = (&self.index, self.upto);
        let mut agrees = true;
        self.blocks.take(entry, record, |number, block| {
            agrees &= index.agrees(number, &block, (oldest, upto))?;
            Ok::<_, IndexError>(())
        })?;
        if let Some(key) = keys::time(record) {
            agrees &= index.has_time(&key)?;
        }
        Ok(agrees)
    }

    /// Whether the index has the last block.
    fn end(self) -> Result<bool, IndexError> {
        let span = (self.oldest.unwrap_or(self.from), self.upto);
        match self.blocks.end() {
            Some((number, block)) => self.index.agrees(number, &block, span),
            None => Ok(true),
        }
    }
}

impl Index {
    /// Whether it has of the block what is `right`, of which the events of `span` were looked at.
    fn agrees(&self, number: Number, right: &Block, (oldest, last): (Seq, Seq)) -> Result<bool, IndexError> {
        let held = self.block(number)?.unwrap_or_default();
        let from_its_start = oldest <= number.first().max(Seq(1));
        // It may begin with a record that was not looked at; and what is sealed says nothing about the log.
        let anchored = right.anchor.is_none_or(|at| match from_its_start {
            true => held.anchor == Some(at),
            false => held.anchor.is_some_and(|held| held <= at),
        });
        let agrees = anchored
            && match from_its_start && number.last() <= last {
                true => held.prints == right.prints,
                false => held.holds(right),
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
