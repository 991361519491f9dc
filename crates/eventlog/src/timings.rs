//! Where the time of commits goes, stage by stage, since this replica began. Measured for an entry and counted for each
//! of its commands, so that a stage's figures are those of a command.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

/// A stage of a commit. Flushing and replicating go on beside each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// From a command's arrival until it is decided.
    Queue,
    /// Deciding the commands of an entry.
    Decide,
    /// From handing an entry to the log until it is on its way to the disk and to the followers.
    Append,
    /// Writing an entry to the leader's disk, and flushing it.
    Flush,
    /// From there until a majority is known to have it.
    Replicate,
    /// Folding it into the projection, once it is on this disk too.
    Apply,
    /// From there until the answers are handed to the broker's client.
    Reply,
}

impl Stage {
    /// Every stage, in the order of a commit.
    pub const ALL: [Self; 7] = [
        Self::Queue,
        Self::Decide,
        Self::Append,
        Self::Flush,
        Self::Replicate,
        Self::Apply,
        Self::Reply,
    ];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Decide => "decide",
            Self::Append => "append",
            Self::Flush => "flush",
            Self::Replicate => "replicate",
            Self::Apply => "apply",
            Self::Reply => "reply",
        }
    }
}

/// A stage's figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageTiming {
    /// Which.
    pub stage: Stage,
    /// How many commands went through it.
    pub commands: u64,
    /// The median.
    pub p50: Duration,
    /// What one in a hundred takes longer than.
    pub p99: Duration,
}

/// The times of all stages. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Timings(Arc<[Mutex<Histogram<u64>>; Stage::ALL.len()]>);

impl Default for Timings {
    fn default() -> Self {
        let of_stage = |_| Mutex::new(Histogram::new(2).expect("two significant digits can be kept"));
        Self(Arc::new(Stage::ALL.map(of_stage)))
    }
}

impl Timings {
    /// Counts that `commands` commands each took `took` for a stage.
    pub fn record(&self, stage: Stage, took: Duration, commands: usize) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let mut histogram = self.0[stage as usize]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // It grows to hold any value, so it takes each.
        let _ = histogram.record_n(micros, commands as u64);
    }

    /// The figures of all stages.
    pub fn told(&self) -> Vec<StageTiming> {
        let figures = |stage: Stage| {
            let histogram = self.0[stage as usize]
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            StageTiming {
                stage,
                commands: histogram.len(),
                p50: Duration::from_micros(histogram.value_at_quantile(0.5)),
                p99: Duration::from_micros(histogram.value_at_quantile(0.99)),
            }
        };
        Stage::ALL.map(figures).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_tells_the_times_of_its_commands_and_no_others() {
        let timings = Timings::default();
        timings.record(Stage::Flush, Duration::from_micros(100), 98);
        timings.record(Stage::Flush, Duration::from_micros(9000), 2);
        for told in timings.told() {
            let expected = if told.stage == Stage::Flush {
                (100, 100, 9)
            } else {
                (0, 0, 0)
            };
            let (commands, p50, p99) = expected;
            assert_eq!(told.commands, commands);
            assert!(told.p50.as_micros().abs_diff(p50) <= 1, "{told:?}");
            assert!(told.p99.as_millis().abs_diff(p99) <= 1, "{told:?}");
        }
    }
}
