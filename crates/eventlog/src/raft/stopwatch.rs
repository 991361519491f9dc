//! Times the entries that this replica proposes, from stage to stage. An entry is known by its first event, since it has
//! no index yet when it is handed over.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use chv_domain::{Batch, Seq};
use openraft::EntryPayload;

use super::Entry;
use crate::timings::{Stage, Timings};

/// More entries than ever are under way: what is still here then was never appended.
const MOST: usize = 256;

/// The entries under way, each with when its last stage ended.
#[derive(Clone, Default)]
pub(crate) struct Stopwatch {
    pub(crate) timings: Timings,
    under_way: Arc<Mutex<HashMap<Seq, Instant>>>,
}

impl Stopwatch {
    /// An entry is handed to Raft.
    pub(crate) fn begin(&self, batch: &Batch) {
        let Some(first) = batch.records.first() else {
            return;
        };
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way.len() >= MOST {
            under_way.clear();
        }
        under_way.insert(first.first, Instant::now());
    }

    /// Entries have come through `stage`; `last` when that is the last one that is timed here. Others than those that
    /// began here are passed over.
    pub(crate) fn came_through(&self, stage: Stage, entries: &[Entry], last: bool) {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way.is_empty() {
            return;
        }
        let now = Instant::now();
        for entry in entries {
            let EntryPayload::Normal(batch) = &entry.payload else {
                continue;
            };
            let Some(first) = batch.records.first() else {
                continue;
            };
            let Some(since) = under_way.get_mut(&first.first) else {
                continue;
            };
            self.timings
                .record(stage, now.duration_since(*since), batch.records.len());
            *since = now;
            if last {
                under_way.remove(&first.first);
            }
        }
    }
}
