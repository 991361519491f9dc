//! What a run found: each round's figures, and their medians, which goals are judged by.

use std::time::Duration;

use serde::Serialize;

use crate::goals::{Goal, goals};
use crate::payload;
use crate::plan::{Arrival, Kind, Measured, Quantiles};
use crate::stages::Stage;
use crate::statistics::median;
use crate::systems::System;

/// One system in one round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Round {
    pub(crate) system: System,
    pub(crate) samples: Vec<Sample>,
    /// When events reached a subscriber.
    pub(crate) arrival: Option<Arrival>,
    pub(crate) cost: Option<Cost>,
    pub(crate) stages: Vec<Stage>,
}

impl Round {
    pub(crate) const fn new(system: System) -> Self {
        Self {
            system,
            samples: Vec::new(),
            arrival: None,
            cost: None,
            stages: Vec::new(),
        }
    }
}

/// One point.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sample {
    pub(crate) kind: Kind,
    pub(crate) measured: Measured,
    /// Processor time of all servers for one command, in microseconds.
    pub(crate) cpu_us: f64,
}

/// What a system's servers took, over all points of a round.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Cost {
    /// How many events were written; for JetStream messages, for etcd puts.
    pub(crate) events: u64,
    pub(crate) events_a_command: f64,
    /// Growth of one server's files, on average.
    pub(crate) disk_bytes_an_event: f64,
    /// Growth of the server that holds the most.
    pub(crate) memory_bytes_an_event: f64,
}

/// A system's medians.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Summary {
    pub(crate) system: System,
    pub(crate) flushed_before_the_answer: &'static str,
    pub(crate) points: Vec<Point>,
    pub(crate) arrival: Option<Arrival>,
    pub(crate) cost: Option<Cost>,
    /// Of the last round.
    pub(crate) stages: Vec<Stage>,
}

/// The medians of one point.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Point {
    pub(crate) kind: Kind,
    /// Commands a second.
    pub(crate) per_second: f64,
    pub(crate) latency: Quantiles,
    pub(crate) cpu_us: f64,
    /// Of all rounds: how many answers said to try later.
    pub(crate) busy: u64,
}

impl Summary {
    pub(crate) fn point(&self, kind: Kind) -> Option<Point> {
        self.points.iter().copied().find(|point| point.kind == kind)
    }

    fn of(system: System, rounds: &[&Round]) -> Self {
        let samples: Vec<&Sample> = rounds.iter().flat_map(|round| &round.samples).collect();
        let mut kinds: Vec<Kind> = samples.iter().map(|sample| sample.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let arrivals: Vec<Arrival> = rounds.iter().filter_map(|round| round.arrival).collect();
        let costs: Vec<Cost> = rounds.iter().filter_map(|round| round.cost).collect();
        Self {
            system,
            flushed_before_the_answer: system.durability(),
            points: kinds.into_iter().map(|kind| Point::of(kind, &samples)).collect(),
            arrival: (!arrivals.is_empty()).then(|| Arrival {
                after_answer: medians(arrivals.iter().map(|it| it.after_answer)),
                after_decision: medians(arrivals.iter().map(|it| it.after_decision)),
            }),
            cost: costs.first().map(|first| Cost {
                disk_bytes_an_event: median(costs.iter().map(|it| it.disk_bytes_an_event)),
                memory_bytes_an_event: median(costs.iter().map(|it| it.memory_bytes_an_event)),
                ..*first
            }),
            stages: rounds
                .last()
                .map(|round| round.stages.clone())
                .unwrap_or_default(),
        }
    }
}

impl Point {
    fn of(kind: Kind, samples: &[&Sample]) -> Self {
        let own: Vec<&Sample> = samples
            .iter()
            .copied()
            .filter(|sample| sample.kind == kind)
            .collect();
        Self {
            kind,
            per_second: median(own.iter().map(|sample| sample.measured.per_second)),
            latency: medians(own.iter().map(|sample| sample.measured.latency)),
            cpu_us: median(own.iter().map(|sample| sample.cpu_us)),
            busy: own.iter().map(|sample| sample.measured.busy).sum(),
        }
    }
}

fn medians(of: impl Iterator<Item = Quantiles> + Clone) -> Quantiles {
    Quantiles {
        p50_us: median(of.clone().map(|it| it.p50_us)),
        p99_us: median(of.map(|it| it.p99_us)),
    }
}

/// A whole run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Results {
    pub(crate) machine: String,
    pub(crate) payload_bytes: usize,
    pub(crate) rounds: u32,
    pub(crate) seconds_a_point: u64,
    pub(crate) systems: Vec<Summary>,
    pub(crate) goals: Vec<Goal>,
    pub(crate) every_round: Vec<Round>,
}

impl Results {
    pub(crate) fn of(
        machine: String,
        rounds: u32,
        measured: Duration,
        systems: Vec<System>,
        every: &[Round],
    ) -> Self {
        let summary = |system| {
            let own: Vec<&Round> = every.iter().filter(|round| round.system == system).collect();
            Summary::of(system, &own)
        };
        let systems: Vec<Summary> = systems.into_iter().map(summary).collect();
        Self {
            machine,
            payload_bytes: payload::SIZE,
            rounds,
            seconds_a_point: measured.as_secs(),
            goals: goals(&systems),
            systems,
            every_round: every.to_vec(),
        }
    }
}
