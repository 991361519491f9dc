//! What Chronovisor's log is to reach beside the others in the same run, and whether it does.

use serde::Serialize;

use crate::plan::Kind;
use crate::results::Summary;
use crate::systems::System;

/// One goal against one system.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Goal {
    pub(crate) what: &'static str,
    /// With whom it is compared; with nobody when the bound is a figure of its own.
    pub(crate) against: Option<System>,
    /// Chronovisor's figure divided by the other's, or the figure.
    pub(crate) found: f64,
    pub(crate) wanted: Bound,
    pub(crate) met: bool,
}

/// What is good enough.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    fn holds(self, found: f64) -> bool {
        match self {
            Self::AtMost(most) => found <= most,
            Self::AtLeast(least) => found >= least,
        }
    }
}

/// One figure of both systems, with the bounds on their ratio.
struct Comparison {
    what: &'static str,
    own: fn(&Summary) -> Option<f64>,
    other: fn(&Summary) -> Option<f64>,
    jetstream: Bound,
    etcd: Bound,
}

const ONE: Kind = Kind::Single { outstanding: 1 };
const MANY: Kind = Kind::Single { outstanding: 256 };
const MORE: Kind = Kind::Single { outstanding: 1_024 };
const SIXTEEN: Kind = Kind::Sixteen { outstanding: 256 };

const COMPARISONS: [Comparison; 5] = [
    Comparison {
        what: "1 outstanding, p50 latency",
        own: |of| of.point(ONE).map(|point| point.latency.p50_us),
        other: |of| of.point(ONE).map(|point| point.latency.p50_us),
        jetstream: Bound::AtMost(0.8),
        etcd: Bound::AtMost(0.8),
    },
    Comparison {
        what: "256 outstanding, throughput",
        own: |of| of.point(MANY).map(|point| point.per_second),
        other: |of| of.point(MANY).map(|point| point.per_second),
        jetstream: Bound::AtLeast(1.0),
        etcd: Bound::AtLeast(4.0),
    },
    Comparison {
        what: "256 outstanding, p99 latency",
        own: |of| of.point(MANY).map(|point| point.latency.p99_us),
        other: |of| of.point(MANY).map(|point| point.latency.p99_us),
        jetstream: Bound::AtMost(1.0),
        etcd: Bound::AtMost(0.25),
    },
    Comparison {
        what: "1,024 outstanding, throughput",
        own: |of| of.point(MORE).map(|point| point.per_second),
        other: |of| of.point(MORE).map(|point| point.per_second),
        jetstream: Bound::AtLeast(0.8),
        etcd: Bound::AtLeast(4.0),
    },
    Comparison {
        what: "16 to a message, 256 outstanding, against single ones",
        own: |of| of.point(SIXTEEN).map(|point| point.per_second),
        other: |of| of.point(MANY).map(|point| point.per_second),
        jetstream: Bound::AtLeast(2.0),
        etcd: Bound::AtLeast(8.0),
    },
];

/// How late a subscriber may have an event after its commit at 1,000 commands a second, in milliseconds, for 99 of 100.
const ARRIVAL: Bound = Bound::AtMost(2.0);

/// Those that this run has the figures for.
pub(crate) fn goals(systems: &[Summary]) -> Vec<Goal> {
    let find = |system| systems.iter().find(|summary| summary.system == system);
    let Some(own) = find(System::Chronovisor) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for comparison in COMPARISONS {
        let sides = [
            (System::JetstreamAlways, comparison.jetstream),
            (System::Etcd, comparison.etcd),
        ];
        for (system, wanted) in sides {
            let theirs = find(system).and_then(comparison.other);
            if let (Some(ours), Some(theirs)) = ((comparison.own)(own), theirs) {
                found.push(goal(comparison.what, Some(system), ours / theirs, wanted));
            }
        }
    }
    found.extend(own.arrival.map(|arrival| {
        let late = arrival.after_answer.p99_us / 1_000.0;
        goal(
            "event at a subscriber after the answer, p99, ms",
            None,
            late,
            ARRIVAL,
        )
    }));
    found
}

fn goal(what: &'static str, against: Option<System>, found: f64, wanted: Bound) -> Goal {
    Goal {
        what,
        against,
        found,
        wanted,
        met: wanted.holds(found),
    }
}
