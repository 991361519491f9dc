//! Counting answers within the measured time.

use std::time::{Duration, Instant};

use crate::plan::{Measured, Plan};
use crate::statistics::quantiles;

/// When answers count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) from: Instant,
    pub(super) until: Instant,
}

impl Window {
    /// The plan's, when the first message is sent now.
    pub(super) fn from_now(plan: &Plan) -> Self {
        let from = Instant::now() + plan.warm_up;
        Self {
            from,
            until: from + plan.measured,
        }
    }

    /// Whether no more is to be sent.
    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }
}

/// What one connection has seen.
#[derive(Debug)]
pub(super) struct Tally {
    window: Window,
    answered: u64,
    busy: u64,
    latencies: Vec<i64>,
    /// Commands answered in the window.
    counted: u64,
}

impl Tally {
    pub(super) fn new(window: Window) -> Self {
        Self {
            window,
            answered: 0,
            busy: 0,
            latencies: Vec::new(),
            counted: 0,
        }
    }

    /// So many commands of a message, sent then, are done as of now.
    pub(super) fn answer(&mut self, sent: Instant, commands: u32) {
        let now = Instant::now();
        if commands == 0 {
            return;
        }
        self.answered += u64::from(commands);
        if (self.window.from..self.window.until).contains(&now) {
            self.counted += u64::from(commands);
            self.latencies.push(nanoseconds(now.duration_since(sent)));
        }
    }

    pub(super) fn busy(&mut self, commands: u32) {
        self.busy += u64::from(commands);
    }

    /// All connections' together.
    pub(super) fn measured(tallies: impl IntoIterator<Item = Self>, plan: &Plan) -> Measured {
        let mut sum = Measured::default();
        let mut latencies = Vec::new();
        let mut counted = 0;
        for tally in tallies {
            sum.answered += tally.answered;
            sum.busy += tally.busy;
            counted += tally.counted;
            latencies.extend(tally.latencies);
        }
        sum.per_second = counted as f64 / plan.measured.as_secs_f64();
        sum.latency = quantiles(latencies);
        sum
    }
}

pub(super) fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}
