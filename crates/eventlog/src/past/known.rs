//! The states of the past that are kept in memory. A projection is made of persistent maps, so two states share
//! what did not change between them; how many are kept is bounded all the same.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chv_domain::{Projection, Seq};
use tokio::sync::{Semaphore, SemaphorePermit};

/// One state is kept for so many events, at most.
const EVERY: u64 = 8192;

/// How many states are kept.
const KEPT: usize = 32;

/// How many of the states that were asked for last are kept: whoever asks page by page asks for the same one again.
const ASKED: usize = 8;

/// How many states are made at a time; each takes a processor.
const AT_ONCE: usize = 2;

/// How long to wait for a turn.
const PATIENCE: Duration = Duration::from_secs(2);

/// The states that are kept.
#[derive(Debug)]
pub(crate) struct Known {
    turns: Semaphore,
    /// In the order of their events.
    states: Mutex<Vec<Projection>>,
    /// The last ones that were asked for, the newest at the end.
    asked: Mutex<VecDeque<Projection>>,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            turns: Semaphore::new(AT_ONCE),
            states: Mutex::new(Vec::new()),
            asked: Mutex::new(VecDeque::new()),
        }
    }
}

impl Known {
    /// A turn to make a state; `None` when none is free in time.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        tokio::time::timeout(PATIENCE, self.turns.acquire())
            .await
            .ok()?
            .ok()
    }

    /// The last state that is kept and has no event after `seq`; the one before the first event otherwise.
    pub(super) fn before(&self, seq: Seq) -> Projection {
        let passed = {
            let states = self.lock();
            let upto = states.partition_point(|state| state.seq() <= seq);
            upto.checked_sub(1).map(|at| states[at].clone())
        };
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = asked.iter().filter(|state| state.seq() <= seq).cloned();
        asked
            .chain(passed)
            .max_by_key(Projection::seq)
            .unwrap_or_default()
    }

    /// Keeps a state that was asked for, for a while.
    pub(super) fn asked(&self, state: &Projection) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.retain(|known| known.seq() != state.seq());
        asked.push_back(state.clone());
        if asked.len() > ASKED {
            asked.pop_front();
        }
    }

    /// Takes note of a state that was come by: kept, if none is for the events around it.
    pub(crate) fn passed(&self, state: &Projection) {
        let slot = |state: &Projection| state.seq().0 / EVERY;
        let mut states = self.lock();
        let at = states.partition_point(|known| slot(known) < slot(state));
        if states.get(at).is_some_and(|known| slot(known) == slot(state)) || slot(state) == 0 {
            return;
        }
        states.insert(at, state.clone());
        if states.len() > KEPT {
            let drop = least_missed(&states);
            states.remove(drop);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Projection>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state between whose neighbours the fewest events are.
fn least_missed(states: &[Projection]) -> usize {
    let gap = |at: usize| {
        let before = at.checked_sub(1).map_or(0, |before| states[before].seq().0);
        states[at + 1].seq().0 - before
    };
    (0..states.len() - 1).min_by_key(|at| gap(*at)).unwrap_or(0)
}
