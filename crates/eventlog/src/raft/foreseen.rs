//! The states that entries on their way lead to, where they were decided here: the state machine takes them over and
//! does not fold the same records again. Only what the replica decided itself is foreseen; all others fold.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chv_domain::{Batch, Projection, RecordHash};

/// More entries than are ever on their way.
const MOST: usize = 8;

/// Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub(crate) struct Foreseen(Arc<Mutex<VecDeque<Projection>>>);

impl Foreseen {
    /// The next entry leads to `state`.
    pub(crate) fn note(&self, state: Projection) {
        let mut states = self.lock();
        if states.len() >= MOST {
            states.clear();
        }
        states.push_back(state);
    }

    /// The state that `batch` leads to, if it was noted. Those before it are forgotten: their entries came, or never will.
    pub(crate) fn take(&self, batch: &Batch) -> Option<Projection> {
        let hash: RecordHash = batch.records.last()?.hash();
        let mut states = self.lock();
        while let Some(state) = states.pop_front() {
            if state.hash() == hash {
                return Some(state);
            }
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Projection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
