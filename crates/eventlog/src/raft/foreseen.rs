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

#[cfg(test)]
mod tests {
    use chv_domain::{Record, Seq, Term};

    use super::*;
    use crate::history::format::samples::chain;

    /// The records of three batches, and the states that they lead to.
    fn batches() -> Vec<(Batch, Projection)> {
        let records: Vec<Record> = chain(Seq(1), RecordHash::ZERO, &[(1, 100); 3]);
        let mut state = Projection::default();
        let batch = |record| Batch {
            published: Seq::ZERO,
            records: vec![record],
        };
        let led = records.into_iter().map(|record| {
            let batch = batch(record);
            state.apply_batch(Term(1), &batch);
            (batch, state.clone())
        });
        led.collect()
    }

    #[test]
    fn a_state_is_given_for_its_own_batch_and_what_was_noted_before_it_is_forgotten() {
        let (foreseen, batches) = (Foreseen::default(), batches());
        for (_, state) in &batches {
            foreseen.note(state.clone());
        }
        // The first never came; the second does, and then the third.
        assert!(foreseen.take(&batches[1].0).as_ref() == Some(&batches[1].1));
        assert!(foreseen.take(&batches[0].0).is_none());
        // Asked for the first, the third was forgotten too: it folds.
        assert!(foreseen.take(&batches[2].0).is_none());
        assert!(foreseen.take(&Batch::default()).is_none());
    }

    #[test]
    fn states_of_entries_that_never_come_do_not_pile_up() {
        let (foreseen, batches) = (Foreseen::default(), batches());
        for _ in 0..100 {
            foreseen.note(batches[0].1.clone());
        }
        assert!(foreseen.lock().len() <= MOST);
    }
}
