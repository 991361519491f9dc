//! Where records are found: by number, by what they are about, by author, by command, by time. In sled, and
//! nowhere else is sled used.
//!
//! All of it can be made again, from sealed history and from the log after it, so nothing here is flushed or trusted: the
//! index carries how far it goes and what the log held there, and one that disagrees with the log or with history, has
//! another form, or does not open, is dropped and rebuilt.
//!
//! ```text
//! follow    upward, behind the commits: out of the log
//! forward   a step of that
//! fill      downward, slowly: out of sealed history, as far as it is kept
//! verify    all of it against both
//! ```

mod block;
mod fill;
#[cfg(test)]
mod fill_tests;
mod follow;
mod forward;
#[cfg(test)]
mod forward_tests;
#[cfg(test)]
mod golden;
mod health;
mod keys;
#[cfg(test)]
mod lost_tests;
mod order;
mod verify;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chv_domain::{Record, RecordHash, Seq, Timestamp, stored};
use serde::{Deserialize, Serialize};

pub(crate) use follow::{Follower, Reached};
pub(crate) use forward::Sources;
pub use health::{IndexHealth, IndexState};
pub(crate) use keys::Term;
pub use order::Order;

use block::{Block, Blocks, Number};

/// How many blocks one search looks at before it says where to go on.
const LOOKS: usize = 20_000;

/// How far the index goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// The last log entry that is in it.
    pub(crate) entry: u64,
    /// The last event that is in it.
    pub(crate) seq: Seq,
    /// The hash of the record with that event.
    pub(crate) hash: RecordHash,
}

/// The index can't be used.
#[derive(Debug, thiserror::Error)]
#[error("the index in {path} can't be used: {why}")]
pub struct IndexError {
    path: PathBuf,
    why: String,
}

/// sled lets go of its files a moment after it was closed.
const LET_GO: Duration = Duration::from_secs(10);

/// Waits until nobody holds sled's lock. Blocks.
fn wait_until_free(path: &Path) -> Result<(), IndexError> {
    // Where there is none, or it does not open, sled makes one or says what is wrong.
    let Ok(file) = File::open(path.join("db")) else {
        return Ok(());
    };
    let until = Instant::now() + LET_GO;
    while Instant::now() < until {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(()),
        }
    }
    Err(IndexError {
        path: path.to_owned(),
        why: "something else has it open".to_owned(),
    })
}

const MARK: &[u8] = b"mark";
const FORM: &[u8] = b"form";
const FROM: &[u8] = b"from";

/// The index; cheap to clone. Its calls block on the disk.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    opened: Arc<Opened>,
}

#[derive(Debug)]
struct Opened {
    path: PathBuf,
    blocks: sled::Tree,
    times: sled::Tree,
    marks: sled::Tree,
}

impl Index {
    /// Opens the index, or begins an empty one where there is none, or none that can be used. One that is just being closed
    /// is waited for: it would be dropped under who still has it.
    pub(crate) fn open(path: &Path) -> Result<Self, IndexError> {
        wait_until_free(path)?;
        Self::try_open(path).or_else(|error| {
            tracing::warn!(%error, "the index is dropped and made again");
            Self::anew(path)
        })
    }

    /// Drops what is there and begins an empty one. Nobody may have the old one open.
    pub(crate) fn anew(path: &Path) -> Result<Self, IndexError> {
        match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(IndexError {
                    path: path.to_owned(),
                    why: error.to_string(),
                });
            }
            Ok(()) | Err(_) => {}
        }
        Self::try_open(path)
    }

    fn try_open(path: &Path) -> Result<Self, IndexError> {
        let failed = |why: String| IndexError {
            path: path.to_owned(),
            why,
        };
        // sled can panic on a damaged directory instead of saying so.
        let opened = std::panic::catch_unwind(|| {
            let config = sled::Config::new()
                .path(path)
                .cache_capacity(64 << 20)
                .flush_every_ms(Some(1000));
            let db = config.open()?;
            let opened = Opened {
                path: path.to_owned(),
                blocks: db.open_tree("blocks")?,
                times: db.open_tree("times")?,
                marks: db.open_tree("marks")?,
            };
            let form = match opened.marks.get(FORM)? {
                None if opened.marks.is_empty() => {
                    opened.marks.insert(FORM, &keys::VERSION.to_be_bytes())?;
                    true
                }
                form => form.is_some_and(|form| *form == keys::VERSION.to_be_bytes()),
            };
            Ok::<_, sled::Error>((opened, form))
        });
        match opened {
            Ok(Ok((opened, true))) => Ok(Self {
                opened: Arc::new(opened),
            }),
            Ok(Ok((_, false))) => Err(failed("it has another form than this program makes".to_owned())),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed("it is damaged".to_owned())),
        }
    }

    fn failed(&self, error: impl std::fmt::Display) -> IndexError {
        IndexError {
            path: self.opened.path.clone(),
            why: error.to_string(),
        }
    }

    /// Whether nobody else holds it: then its directory may be removed once this one is dropped.
    pub(crate) fn is_unshared(&self) -> bool {
        Arc::strong_count(&self.opened) == 1
    }

    /// How far it goes.
    pub(crate) fn mark(&self) -> Result<Mark, IndexError> {
        match self.opened.marks.get(MARK).map_err(|error| self.failed(error))? {
            None => Ok(Mark::default()),
            Some(bytes) => stored::decode(&bytes).map_err(|error| self.failed(error)),
        }
    }

    /// The first event from which on it has all up to its mark: it leaves out those before.
    pub(crate) fn from(&self) -> Result<Seq, IndexError> {
        let from = self.opened.marks.get(FROM).map_err(|error| self.failed(error))?;
        Ok(Seq(from.and_then(|from| keys::number(&from)).unwrap_or(1)))
    }

    /// Takes note that it leaves out what is before `from`.
    pub(crate) fn leave_out_before(&self, from: Seq) -> Result<(), IndexError> {
        let noted = self.opened.marks.insert(FROM, &from.0.to_be_bytes());
        noted.map(drop).map_err(|error| self.failed(error))
    }

    /// Takes the records of log entries in, and notes how far it goes now. Doing it again changes nothing.
    pub(crate) fn add(&self, records: &[(u64, &Record)], mark: Mark) -> Result<(), IndexError> {
        self.insert(records.iter().map(|(entry, record)| (Some(*entry), *record)))?;
        let mark = stored::encode(&mark).map_err(|error| self.failed(error))?;
        // Last, so that an index that was cut short is behind its mark by nothing.
        let marked = self.opened.marks.insert(MARK, mark);
        marked.map(drop).map_err(|error| self.failed(error))
    }

    /// Takes records in, each of its log entry or of sealed history. One at a time: it reads blocks and writes them again.
    fn insert<'a>(&self, records: impl Iterator<Item = (Option<u64>, &'a Record)>) -> Result<(), IndexError> {
        let (mut blocks, mut times) = (sled::Batch::default(), sled::Batch::default());
        let mut put = |number, block| {
            let block = self.with_stored(number, block)?;
            blocks.insert(&number.key(), block.encode());
            Ok::<_, IndexError>(())
        };
        let mut made = Blocks::default();
        for (entry, record) in records {
            made.take(entry, record, &mut put)?;
            if let Some(key) = keys::time(record) {
                times.insert(&key, &[]);
            }
        }
        if let Some((number, block)) = made.end() {
            put(number, block)?;
        }
        let add = || {
            self.opened.blocks.apply_batch(blocks)?;
            self.opened.times.apply_batch(times)
        };
        add().map_err(|error: sled::Error| self.failed(error))
    }

    /// The block with what is stored of it.
    fn with_stored(&self, number: Number, mut block: Block) -> Result<Block, IndexError> {
        let Some(mut stored) = self.block(number)? else {
            return Ok(block);
        };
        stored.anchor = stored.anchor.into_iter().chain(block.anchor).min();
        stored.prints.append(&mut block.prints);
        Ok(stored.sorted())
    }

    fn block(&self, number: Number) -> Result<Option<Block>, IndexError> {
        let stored = self
            .opened
            .blocks
            .get(number.key())
            .map_err(|error| self.failed(error))?;
        let block =
            |stored: sled::IVec| Block::decode(&stored).ok_or_else(|| self.failed("a block does not decode"));
        stored.map(block).transpose()
    }

    /// The log entry at which to begin to look for the record with the event `seq`: it holds that record or an
    /// earlier one.
    pub(crate) fn entry_at_or_before(&self, seq: Seq) -> Result<Option<u64>, IndexError> {
        for stored in self.opened.blocks.range(..=Number::of(seq).key()).rev() {
            let (_, block) = stored.map_err(|error| self.failed(error))?;
            // A block can begin after `seq`, or be all of one record's.
            let anchor = block::anchor(&block).flatten();
            if let Some(anchor) = anchor.filter(|anchor| anchor.first <= seq) {
                return Ok(Some(anchor.entry));
            }
        }
        Ok(None)
    }

    /// A record's first event, from which on events of `time` or later are to be looked for; `None` for the
    /// oldest there is. At most about [`keys::TIMES_EVERY`] events are looked at in vain.
    pub(crate) fn before(&self, time: Timestamp) -> Result<Option<Seq>, IndexError> {
        let mut before = self.opened.times.range(..keys::time_key(time, Seq::ZERO));
        let found = before
            .next_back()
            .transpose()
            .map_err(|error| self.failed(error))?;
        Ok(found.and_then(|(key, _)| keys::seq_of(&key)))
    }

    /// Where to look for records that all of `terms` find: the first `most` blocks, from the one with the event `from` to
    /// the one with `to`, in `order`.
    pub(crate) fn find(
        &self,
        terms: &[Term],
        order: Order,
        (from, to): (Seq, Seq),
        most: usize,
    ) -> Result<Places, IndexError> {
        let prints: Vec<_> = terms.iter().map(Term::print).collect();
        let (first, last) = (Number::of(from), Number::of(to));
        let mut blocks: Box<dyn Iterator<Item = _>> = match order {
            Order::OldestFirst => Box::new(self.opened.blocks.range(first.key()..=last.key())),
            Order::NewestFirst => Box::new(self.opened.blocks.range(last.key()..=first.key()).rev()),
        };
        let mut places = Places::default();
        for _ in 0..LOOKS {
            let Some(stored) = blocks.next() else {
                places.next = None;
                return Ok(places);
            };
            let (key, block) = stored.map_err(|error| self.failed(error))?;
            let number = keys::number(&key).ok_or_else(|| self.failed("a block has no number"))?;
            let span = (Number(number).first(), Number(number).last());
            if prints.iter().all(|print| block::has(&block, *print)) {
                places.spans.push(span);
            }
            places.next = order.after(match order {
                Order::OldestFirst => span.1,
                Order::NewestFirst => span.0,
            });
            if places.spans.len() >= most {
                return Ok(places);
            }
        }
        Ok(places)
    }
}

/// Where to look for what is sought.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Places {
    /// The first and the last event of each block that may have it, in the order of the search. Nothing else has.
    pub(crate) spans: Vec<(Seq, Seq)>,
    /// Where to go on; `None` when there are no more blocks.
    pub(crate) next: Option<Seq>,
}

impl Places {
    /// With all events of `low..=high` after `reached`, the last one that the index has.
    pub(crate) fn and_all_after(mut self, reached: Seq, (low, high): (Seq, Seq), order: Order) -> Self {
        let rest = (low.max(reached.next()), high);
        match order {
            _ if rest.0 > rest.1 => {}
            Order::NewestFirst => self.spans.insert(0, rest),
            Order::OldestFirst if self.next.is_none() => self.spans.push(rest),
            // They come after the blocks that are still to be looked at.
            Order::OldestFirst => {}
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_index_lacks_is_looked_at_after_all_blocks_or_before_them() {
        let block = (Seq(1), Seq(256));
        let places = |next: Option<u64>| Places {
            spans: vec![block],
            next: next.map(Seq),
        };
        let with = |next, reached, order| {
            let all = places(next).and_all_after(Seq(reached), (Seq(1), Seq(300)), order);
            all.spans
        };
        let rest = (Seq(291), Seq(300));
        assert_eq!(with(None, 290, Order::OldestFirst), [block, rest]);
        assert_eq!(with(None, 290, Order::NewestFirst), [rest, block]);
        assert_eq!(with(Some(0), 290, Order::NewestFirst), [rest, block]);
        // There are blocks to be looked at first.
        assert_eq!(with(Some(257), 290, Order::OldestFirst), [block]);
        // It lacks nothing.
        assert_eq!(with(None, 300, Order::OldestFirst), [block]);
        assert_eq!(with(None, 400, Order::NewestFirst), [block]);
    }
}
