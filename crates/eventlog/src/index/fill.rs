//! Takes into the index what is sealed and comes before all that it has, the newest first, until it has all that is kept;
//! and drops from it what is kept no more. The log does not reach back that far after a purge, or after a snapshot.
//!
//! How far it is, is noted in the index itself, so that a restart goes on there.

use std::time::{Duration, Instant};

use chv_domain::{Record, Seq};
use tracing::info;

use super::block::Number;
use super::{Index, IndexError, keys};
use crate::history::History;

/// How long it goes on at a time: a part of the time between two looks at the log, since commits need the disk and the
/// processor more.
const SLICE: Duration = Duration::from_millis(50);

/// Does a slice of it, where `oldest` is the first event that is kept. Whether there is more to do already; if not, the
/// index has all, or what it lacks is not here yet.
pub(super) fn fill(index: &Index, history: &History, oldest: Seq) -> Result<bool, IndexError> {
    index.drop_before(oldest)?;
    let began = Instant::now();
    let mut from = index.from()?;
    while from > oldest {
        if began.elapsed() > SLICE {
            return Ok(true);
        }
        let stored = history.stored_with(Seq(from.0 - 1));
        let mut records = stored.map_err(|error| index.failed(error))?;
        records.retain(|record| record.first < from && record.last() >= oldest);
        let Some(first) = records.first() else {
            return Ok(false);
        };
        from = first.first;
        index.add_before(&records, from)?;
        if from <= oldest {
            info!(%oldest, "the index has all that is kept");
        }
    }
    Ok(false)
}

impl Index {
    /// Takes sealed records in, the first with the event `from`, which end where it begins.
    fn add_before(&self, records: &[Record], from: Seq) -> Result<(), IndexError> {
        self.insert(records.iter().map(|record| (None, record)))?;
        // After them: what was cut short is taken in again.
        self.leave_out_before(from)
    }

    /// Drops what finds events before `oldest` only.
    fn drop_before(&self, oldest: Seq) -> Result<(), IndexError> {
        if self.from()? < oldest {
            // Before they go: what is half gone is left out.
            self.leave_out_before(oldest)?;
        }
        let drop = || {
            for block in self.opened.blocks.range(..Number::of(oldest).key()).keys() {
                self.opened.blocks.remove(block?)?;
            }
            for time in self.opened.times.iter().keys() {
                let time = time?;
                // Times are in the order of their events.
                if keys::seq_of(&time).is_none_or(|seq| seq >= oldest) {
                    break;
                }
                self.opened.times.remove(time)?;
            }
            Ok(())
        };
        drop().map_err(|error: sled::Error| self.failed(error))
    }
}
