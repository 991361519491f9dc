//! How soon a step that failed may be tried again: later each time. When a guest that ended is started again is its
//! spec's, not this one's.

use std::time::Duration;

use chv_domain::Timestamp;

/// After the first failed step, and the longest pause between two.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Between two looks at whether what stood in the way is gone.
const BLOCKED: Duration = Duration::from_secs(2);

/// The pace of one VM's steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pace {
    failures: u32,
    not_before: Option<Timestamp>,
}

impl Pace {
    /// Nothing has failed.
    pub const fn new() -> Self {
        Self {
            failures: 0,
            not_before: None,
        }
    }

    /// When the next step may be done; at once when `None`.
    pub const fn not_before(&self) -> Option<Timestamp> {
        self.not_before
    }

    /// How many steps failed in a row.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// A step failed in a way that may pass. `jitter` is 0 to 1: hosts that fail together don't retry together.
    pub fn failed(&mut self, now: Timestamp, jitter: f64) {
        let pause = doubled(RETRY, self.failures).mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(now.plus(pause));
    }

    /// A step waits for something on this host to change.
    pub fn blocked(&mut self, now: Timestamp, jitter: f64) {
        self.not_before = Some(now.plus(BLOCKED.mul_f64(0.9 + jitter.clamp(0.0, 1.0) / 5.0)));
    }

    /// A step was done.
    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.not_before = None;
    }

    /// Somebody asked for something else: what failed before says nothing about that.
    pub const fn reset(&mut self) {
        *self = Self::new();
    }
}

fn doubled((first, most): (Duration, Duration), times: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(times)).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000_000);

    fn pause(pace: Pace) -> Duration {
        pace.not_before().unwrap_or(NOW).since(NOW)
    }

    #[test]
    fn given_a_step_that_keeps_failing_then_pauses_double_up_to_five_seconds() {
        let mut pace = Pace::new();
        let mut pauses = Vec::new();
        for _ in 0..9 {
            pace.failed(NOW, 1.0);
            pauses.push(pause(pace).as_millis());
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
        pace.succeeded();
        pace.failed(NOW, 0.0);
        assert_eq!(pause(pace).as_millis(), 50);
    }
}
