//! Compares the whole index with the log, page by page and slowly: both are summed up, key by key, and the sums
//! must be the same. What is missing, too much or changed anywhere makes them differ.

use std::hash::{DefaultHasher, Hasher};
use std::time::{Duration, Instant};

use chv_domain::Seq;
use tracing::debug;

use super::{Index, IndexError, Mark, keys};
use crate::chain::{self, Chain};
use crate::raft::Entry;
use crate::raft::log_storage::LogStorage;

/// How many bytes of the log are compared at a time.
const PAGE: usize = 1 << 20;

/// How many keys of the index are.
const KEYS: usize = 8192;

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

/// A sum over keys and values that does not depend on their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    keys: u64,
    sum: u64,
}

impl Sum {
    fn take(&mut self, tree: u8, key: &[u8], value: &[u8]) {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(tree);
        hasher.write(key);
        hasher.write_u8(0);
        hasher.write(value);
        self.keys += 1;
        self.sum = self.sum.wrapping_add(hasher.finish());
    }
}

const ENTRIES: u8 = 0;
const FOUND_BY: u8 = 1;
const TIMES: u8 = 2;

/// Compares what the index has up to its mark.
pub(super) async fn compare(index: &Index, log: &LogStorage) -> Result<Verdict, IndexError> {
    let (mark, from) = {
        let index = index.clone();
        blocking(move || Ok((index.mark()?, index.from()?))).await?
    };
    // The log may reach back further than the index, and the index further than the log.
    let Some((oldest, expected)) = of_log(log, mark, from).await else {
        return Ok(Verdict::Unknown);
    };
    let mut held = Sum::default();
    for tree in [ENTRIES, FOUND_BY, TIMES] {
        let mut after = None;
        loop {
            let began = Instant::now();
            let index = index.clone();
            let page = blocking(move || index.sum(tree, after, (oldest, mark.seq))).await?;
            held.keys += page.sum.keys;
            held.sum = held.sum.wrapping_add(page.sum.sum);
            after = page.last;
            if after.is_none() {
                break;
            }
            tokio::time::sleep(began.elapsed() * PAUSE).await;
        }
    }
    if held == expected {
        return Ok(Verdict::Agrees(mark.seq));
    }
    debug!(?held, ?expected, "the index differs");
    Ok(Verdict::Differs)
}

/// The first event of the log at or after `from`, and what an index from there to `mark` sums up to.
async fn of_log(log: &LogStorage, mark: Mark, from: Seq) -> Option<(Seq, Sum)> {
    let (mut oldest, mut sum, mut chain) = (None, Sum::default(), Chain::unknown());
    let mut next = None;
    while next.is_none_or(|next| next <= mark.entry) {
        let began = Instant::now();
        let page = log.entries(next.unwrap_or(0), mark.entry + 1, PAGE).await;
        let page = page.inspect_err(|error| debug!(%error, "not compared")).ok()?;
        let (first, last) = (page.first()?.log_id.index, page.last()?.log_id.index);
        if next.is_some_and(|next| next != first) {
            return None;
        }
        next = Some(last + 1);
        (oldest, sum, chain) =
            tokio::task::spawn_blocking(move || of_page(&page, from, (oldest, sum, chain)))
                .await
                .ok()?;
        tokio::time::sleep(began.elapsed() * PAUSE).await;
    }
    Some((oldest.unwrap_or(from), sum))
}

fn of_page(page: &[Entry], from: Seq, so_far: (Option<Seq>, Sum, Chain)) -> (Option<Seq>, Sum, Chain) {
    let (mut oldest, mut sum, mut chain) = so_far;
    for entry in page {
        if !chain.takes(entry) {
            continue;
        }
        let records = chain::records(entry);
        if records.first().is_none_or(|first| first.first < from) {
            continue;
        }
        if let Some(first) = records.first() {
            oldest.get_or_insert(first.first);
            let at = entry.log_id.index.to_be_bytes();
            sum.take(ENTRIES, &first.first.0.to_be_bytes(), &at);
        }
        for record in records {
            for key in keys::found_by(record) {
                sum.take(FOUND_BY, &key, &[]);
            }
            if let Some(key) = keys::time(record) {
                sum.take(TIMES, &key, &[]);
            }
        }
    }
    (oldest, sum, chain)
}

struct Page {
    sum: Sum,
    /// The last key looked at; `None` at the end.
    last: Option<sled::IVec>,
}

impl Index {
    /// The sum of the next keys of a tree after `after` whose records begin in `span`.
    fn sum(&self, tree: u8, after: Option<sled::IVec>, span: (Seq, Seq)) -> Result<Page, IndexError> {
        let of = match tree {
            ENTRIES => &self.opened.entries,
            FOUND_BY => &self.opened.found_by,
            _ => &self.opened.times,
        };
        let begin = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let mut page = Page {
            sum: Sum::default(),
            last: None,
        };
        let mut count = 0;
        for hit in of
            .range::<sled::IVec, _>((begin, std::ops::Bound::Unbounded))
            .take(KEYS)
        {
            let (key, value) = hit.map_err(|error| self.failed(error))?;
            // A key without a number is no key of ours, so it counts too.
            if keys::seq_of(&key).is_none_or(|seq| span.0 <= seq && seq <= span.1) {
                page.sum.take(tree, &key, &value);
            }
            count += 1;
            page.last = Some(key);
        }
        if count < KEYS {
            page.last = None;
        }
        Ok(page)
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
