//! The daemon's clock: wall time at its start, and from there on time that never jumps, so that setting the
//! host's clock neither shortens nor lengthens a wait. The only place that reads either.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chv_domain::Timestamp;

/// A clock that goes on from the wall time at which it was made.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    made: Instant,
    made_at: Timestamp,
}

impl Clock {
    /// A clock that shows the host's time now.
    pub fn new() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            made: Instant::now(),
            made_at: Timestamp::default().plus(since_epoch),
        }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.made_at.plus(self.made.elapsed())
    }

    /// How long it is until `at`; nothing when that is past.
    pub fn until(&self, at: Timestamp) -> Duration {
        at.since(self.now())
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}
