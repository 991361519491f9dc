//! What the log holds: records of events, in batches.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::actor::Actor;
use crate::command::Verb;
use crate::event::Event;
use crate::hash::RecordHash;
use crate::ids::CommandId;
use crate::seq::{Seq, Term};
use crate::stored::{self, StoredError};
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

/// What a record says: one command's events, with everything an auditor asks: when, who, why, and the proof that
/// nothing before them was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordBody {
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

impl RecordBody {
    /// The number of the last event.
    pub fn last(&self) -> Seq {
        Seq((self.first.0 + self.events.len() as u64).saturating_sub(1))
    }

    /// Its events with their numbers.
    pub fn numbered(&self) -> impl Iterator<Item = (Seq, &Event)> {
        (self.first.0..).map(Seq).zip(&self.events)
    }
}

/// One command's events as the log holds them: what they say, beside the bytes that say it. The bytes are made once,
/// where the record is decided; whoever stores, sends or hashes it afterwards takes them as they are. Cheap to clone.
#[derive(Clone)]
pub struct Record(Arc<Sealed>);

struct Sealed {
    body: RecordBody,
    stored: Box<[u8]>,
    hash: RecordHash,
}

impl Record {
    /// Seals what a record says.
    pub fn new(body: RecordBody) -> Self {
        let stored = stored::encode(&body).expect("a record is made of values that always encode");
        Self::sealed(body, stored.as_slice().into())
    }

    /// Reads a record's stored form, of which its hash is taken as it is.
    pub fn read(stored: &[u8]) -> Result<Self, StoredError> {
        Ok(Self::sealed(stored::decode(stored)?, stored.into()))
    }

    fn sealed(body: RecordBody, stored: Box<[u8]>) -> Self {
        let hash = RecordHash::of(&stored);
        Self(Arc::new(Sealed { body, stored, hash }))
    }

    /// The hash that the next record carries: SHA-256 of this record's stored form.
    pub fn hash(&self) -> RecordHash {
        self.0.hash
    }

    /// Its stored form, a frame of [`stored`].
    pub fn stored(&self) -> &[u8] {
        &self.0.stored
    }
}

impl Deref for Record {
    type Target = RecordBody;

    fn deref(&self) -> &RecordBody {
        &self.0.body
    }
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        self.0.stored == other.0.stored
    }
}

impl Eq for Record {}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.body.fmt(f)
    }
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.stored())
    }
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored = serde_bytes::ByteBuf::deserialize(deserializer)?.into_vec();
        let body = stored::decode(&stored).map_err(serde::de::Error::custom)?;
        Ok(Self::sealed(body, stored.into()))
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

impl Batch {
    /// About how many bytes it takes as stored, and never less than its records do.
    pub fn stored_size(&self) -> usize {
        // Beside each record, the few bytes that say how long it is.
        self.records.iter().map(|record| record.stored().len() + 8).sum()
    }

    /// Whether it says nothing but what is forgotten, which frees more room than it takes: it may be recorded where the
    /// disks are nearly full.
    pub fn makes_room(&self) -> bool {
        let mut events = self.records.iter().flat_map(|record| &record.events);
        !self.records.is_empty() && events.all(|event| matches!(event, Event::HistoryForgotten { .. }))
    }
}
