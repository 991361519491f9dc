//! Queries' envelopes. The answers are made of what the other files convert.

use chv_domain::{Seq, Timestamp, TraceContext};
use prost::Message as _;

use super::VERSION;
use super::error::{DecodeError, WireError, mismatch, other_version, parse_optional};
use crate::subject;
use crate::v1::query_envelope::Query;
use crate::v1::{self};

/// A moment of the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// After the record that holds this event.
    Seq(Seq),
    /// After the last record of this millisecond, or before it.
    Time(Timestamp),
}

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// The query.
    pub query: Query,
    /// The least event that the answering state must have; [`Seq::ZERO`] for any state.
    pub min_seq: Seq,
    /// As of when; `None` for now.
    pub at: Option<At>,
    /// The trace it belongs to.
    pub trace: Option<TraceContext>,
}

/// A query, as it is sent.
pub fn encode_query(asked: &Asked) -> v1::QueryEnvelope {
    let (at_seq, at_time_ms) = match asked.at {
        None => (0, 0),
        Some(At::Seq(seq)) => (seq.0, 0),
        // Zero would stand for now; nothing ever happened in the first millisecond either.
        Some(At::Time(time)) => (0, time.as_millis().max(1)),
    };
    v1::QueryEnvelope {
        version: VERSION,
        min_seq: asked.min_seq.0,
        at_seq,
        at_time_ms,
        traceparent: asked.trace.map(|trace| trace.to_string()).unwrap_or_default(),
        query: Some(asked.query.clone()),
    }
}

/// A query, as it was sent on a subject that ends in `kind`.
pub fn decode_query(payload: &[u8], kind: &str) -> Result<Asked, DecodeError> {
    let envelope = v1::QueryEnvelope::decode(payload).map_err(|error| {
        DecodeError::new(
            "malformed",
            format!("the payload is not a QueryEnvelope: {error}"),
        )
    })?;
    if envelope.version != VERSION {
        return Err(other_version(envelope.version));
    }
    let query = envelope.query.ok_or_else(|| WireError::missing("query"))?;
    let asked = subject::query_kind(&query);
    if asked != kind {
        return Err(mismatch(kind, asked));
    }
    let at = match (envelope.at_seq, envelope.at_time_ms) {
        (0, 0) => None,
        (seq, 0) => Some(At::Seq(Seq(seq))),
        (0, millis) => Some(At::Time(Timestamp::from_millis(millis))),
        _ => return Err(WireError::new("at_time_ms", "give at_seq or at_time_ms, not both").into()),
    };
    Ok(Asked {
        query,
        min_seq: Seq(envelope.min_seq),
        at,
        trace: parse_optional("traceparent", &envelope.traceparent)?,
    })
}
