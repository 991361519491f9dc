//! What the clients are told to do, and what they measured: the forms in which the two processes speak.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How messages are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// One command to a message, each followed by the next as soon as it is answered.
    Single {
        /// How many messages are unanswered at any time.
        outstanding: u32,
    },
    /// The same, with sixteen commands to a message.
    Sixteen {
        /// How many messages are unanswered at any time.
        outstanding: u32,
    },
}

impl Kind {
    /// The points of a whole run.
    pub(crate) const ALL: [Self; 4] = [
        Self::Single { outstanding: 1 },
        Self::Single { outstanding: 256 },
        Self::Single { outstanding: 1_024 },
        Self::Sixteen { outstanding: 256 },
    ];

    pub(crate) const fn outstanding(self) -> u32 {
        match self {
            Self::Single { outstanding } | Self::Sixteen { outstanding } => outstanding,
        }
    }

    pub(crate) const fn commands_a_message(self) -> u32 {
        match self {
            Self::Single { .. } => 1,
            Self::Sixteen { .. } => 16,
        }
    }
}

/// Where the clients send.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Target {
    /// Commands to Chronovisor's leader.
    Chronovisor(Nats),
    /// Messages to a stream, acknowledged by it.
    JetStream(Nats),
    /// Puts to etcd's leader, by its URL.
    Etcd(String),
}

/// A broker, and a user of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Nats {
    pub(crate) url: String,
    pub(crate) user: String,
    pub(crate) password: String,
}

/// What the clients do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) target: Target,
    pub(crate) work: Work,
    /// Distinguishes this plan's names from every other plan's of the same cluster.
    pub(crate) number: u32,
    /// What is answered in this time at first is not counted.
    pub(crate) warm_up: Duration,
    /// How long is measured after that.
    pub(crate) measured: Duration,
}

/// How the clients work.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum Work {
    /// As fast as the answers come.
    Closed(Kind),
    /// So many commands a second, whatever the answers do, and a subscriber to all events.
    Open { per_second: u32 },
}

/// What the clients measured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// How many commands were answered, the warm-up included.
    pub(crate) answered: u64,
    /// How many answers said to try later, the warm-up included.
    pub(crate) busy: u64,
    /// Commands a second, after the warm-up.
    pub(crate) per_second: f64,
    /// From sending a message to its answer.
    pub(crate) latency: Quantiles,
    /// With a subscriber: when its events came.
    pub(crate) arrival: Option<Arrival>,
}

/// When events reached a subscriber.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Arrival {
    /// After the sender's receipt of the answer; the answer leaves once the commit is known.
    pub(crate) after_answer: Quantiles,
    /// After the time in the record, at which the command was decided: the commit itself is in it.
    pub(crate) after_decision: Quantiles,
}

/// Of a set of times, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Quantiles {
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}
