//! What the log holds: records of events, in batches.

use serde::{Deserialize, Serialize};

use crate::actor::Actor;
use crate::command::Verb;
use crate::event::Event;
use crate::hash::RecordHash;
use crate::ids::CommandId;
use crate::seq::{Seq, Term};
use crate::stored;
use crate::time::Timestamp;
use crate::trace::TraceContext;

/// Why a record is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cause {
    /// The command that was decided.
    pub command: CommandId,
    /// Its kind.
    pub verb: Verb,
    /// The earlier event that its sender acted on; hosts say it of their reports.
    pub follows: Option<Seq>,
}

/// One command's events, with everything an auditor asks: when, who, why, and the proof that nothing
/// before them was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The number of the first event; the others follow without holes.
    pub first: Seq,
    /// The term in which the leader decided. Replicas drop a record that reaches the log in another.
    pub term: Term,
    /// When it was decided, by the leader's clock, and never before the record before it.
    pub time: Timestamp,
    /// Who asked.
    pub actor: Actor,
    /// Why.
    pub cause: Cause,
    /// The trace it belongs to.
    pub trace: Option<TraceContext>,
    /// The hash of the record before this one.
    pub prev: RecordHash,
    /// What happened; never empty.
    pub events: Vec<Event>,
}

impl Record {
    /// The number of the last event.
    pub fn last(&self) -> Seq {
        Seq((self.first.0 + self.events.len() as u64).saturating_sub(1))
    }

    /// Its events with their numbers.
    pub fn numbered(&self) -> impl Iterator<Item = (Seq, &Event)> {
        (self.first.0..).map(Seq).zip(&self.events)
    }

    /// The hash that the next record carries: SHA-256 of this record's stored form.
    pub fn hash(&self) -> RecordHash {
        let bytes = stored::encode(self).expect("a record is made of values that always encode");
        RecordHash::of(&bytes)
    }
}

/// What one Raft entry carries: all commands that were waiting, decided together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// Every event up to this one was published when the batch was made; a new leader publishes from here.
    pub published: Seq,
    /// The records, in order.
    pub records: Vec<Record>,
}
