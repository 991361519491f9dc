//! What happens when: simulated time, and everything that is still to come, in one order that never differs.

use std::collections::BTreeMap;

/// Simulated time since the start, in microseconds.
pub(crate) type Micros = u64;

/// A millisecond.
pub(crate) const MS: Micros = 1000;

/// Everything that is to come.
#[derive(Debug)]
pub(crate) struct Schedule<E> {
    pub(crate) now: Micros,
    serial: u64,
    to_come: BTreeMap<(Micros, u64), E>,
}

impl<E> Schedule<E> {
    pub(crate) const fn new() -> Self {
        Self {
            now: 0,
            serial: 0,
            to_come: BTreeMap::new(),
        }
    }

    /// Lets `event` happen after `after`; of two at the same time, the one that was put in first.
    pub(crate) fn after(&mut self, after: Micros, event: E) {
        self.serial += 1;
        self.to_come.insert((self.now + after, self.serial), event);
    }

    /// The next thing to happen, and lets the time pass until then.
    pub(crate) fn next(&mut self) -> Option<E> {
        let ((at, _), event) = self.to_come.pop_first()?;
        self.now = at;
        Some(event)
    }
}
