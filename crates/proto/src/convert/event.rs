//! Events with what their records say. What each kind of event carries is in `event_kind`.

use bytes::Bytes;
use chv_domain::{
    Actor, Cause, Event, ProjectName, Projection, Record, RecordHash, Resource, Seq, Term, Timestamp,
    TraceContext, Verb, VmName,
};
use prost::Message as _;

use super::VERSION;
use super::error::{WireError, parse, parse_optional};
use super::event_kind::{kind_from_wire, kind_to_wire};
use crate::{subject, v1};

/// One event with what its record says, as subscribers and readers of the log get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventEntry {
    /// Its number.
    pub seq: Seq,
    /// When it was decided.
    pub time: Timestamp,
    /// Who asked.
    pub actor: Actor,
    /// Why.
    pub cause: Cause,
    /// The trace it belongs to.
    pub trace: Option<TraceContext>,
    /// The leader's term.
    pub term: Term,
    /// The hash of the record before its record.
    pub prev: RecordHash,
    /// The number of its record's first event.
    pub record_first: Seq,
    /// How many events its record has.
    pub record_len: u32,
    /// The project of the VM that it is about, where it was known.
    pub project: Option<ProjectName>,
    /// The name of the VM or host that it is about, where it was known; a DNS label.
    pub name: Option<String>,
    /// What happened.
    pub event: Event,
}

/// The event number `index` (from 0) of `record`, as it is sent. `names` is the state that its VM's or
/// host's name is looked up in. An index that the record does not have gives a message without an event.
pub fn event_to_wire(record: &Record, index: usize, names: &Projection) -> v1::EventMessage {
    let own = own(record, index, names);
    v1::EventMessage {
        seq: own.seq,
        kind: own.kind,
        project: own.project,
        name: own.name,
        event: own.event,
        ..common(record)
    }
}

/// The events of one record, each as the bytes of its [`v1::EventMessage`]. What they have in common is encoded once:
/// a message may be put together of encoded parts, in any order.
pub struct EncodedEvents<'a> {
    record: &'a Record,
    common: Vec<u8>,
}

/// An event as bytes, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedEvent {
    /// Its number.
    pub seq: Seq,
    /// The subject that it is published on.
    pub subject: String,
    /// A [`v1::EventMessage`].
    pub message: Bytes,
}

impl<'a> EncodedEvents<'a> {
    /// Those of `record`.
    pub fn of(record: &'a Record) -> Self {
        let common = common(record).encode_to_vec();
        Self { record, common }
    }

    /// The event number `index` (from 0); `None` when the record has not so many. `names` as in [`event_to_wire`].
    pub fn get(&self, index: usize, names: &Projection) -> Option<EncodedEvent> {
        let event = self.record.events.get(index)?;
        let own = own(self.record, index, names);
        let mut message = Vec::with_capacity(self.common.len() + own.encoded_len());
        message.extend_from_slice(&self.common);
        own.encode_raw(&mut message);
        Some(EncodedEvent {
            seq: Seq(own.seq),
            subject: subject::event(event, &own.project, &own.name),
            message: message.into(),
        })
    }
}

/// What all events of a record say alike.
fn common(record: &Record) -> v1::EventMessage {
    v1::EventMessage {
        version: VERSION,
        time_us: record.time.0,
        actor: record.actor.to_string(),
        command: record.cause.command.to_string(),
        verb: record.cause.verb.to_string(),
        follows: record.cause.follows.unwrap_or_default().0,
        traceparent: record.trace.map(|trace| trace.to_string()).unwrap_or_default(),
        term: record.term.0,
        prev_hash: record.prev.0.to_vec(),
        record_first: record.first.0,
        record_len: u32::try_from(record.events.len()).unwrap_or(u32::MAX),
        ..v1::EventMessage::default()
    }
}

/// What one event of a record says for itself.
fn own(record: &Record, index: usize, names: &Projection) -> v1::EventMessage {
    let event = record.events.get(index);
    let (project, name) = event.map(|event| named(event, names)).unwrap_or_default();
    v1::EventMessage {
        seq: record.first.plus(index as u64).0,
        kind: event.map(Event::kind).unwrap_or_default().to_owned(),
        project,
        name,
        event: event.map(kind_to_wire),
        ..v1::EventMessage::default()
    }
}

/// An event, as it was sent.
pub fn event_from_wire(message: v1::EventMessage) -> Result<EventEntry, WireError> {
    if message.version != VERSION {
        let problem = format!("version {} is not known here, only {VERSION}", message.version);
        return Err(WireError::new("version", problem));
    }
    let verb = Verb::ALL
        .iter()
        .copied()
        .find(|verb| verb.as_str() == message.verb);
    let hash: [u8; 32] = message
        .prev_hash
        .try_into()
        .map_err(|_| WireError::new("prev_hash", "is not 32 bytes"))?;
    let event = kind_from_wire(message.event.ok_or_else(|| WireError::missing("event"))?)?;
    if event.kind() != message.kind {
        let problem = format!("says {:?}, the event is {:?}", message.kind, event.kind());
        return Err(WireError::new("kind", problem));
    }
    let name: Option<VmName> = parse_optional("name", &message.name)?;
    Ok(EventEntry {
        seq: Seq(message.seq),
        time: Timestamp(message.time_us),
        actor: parse("actor", &message.actor)?,
        cause: Cause {
            command: parse("command", &message.command)?,
            verb: verb.ok_or_else(|| WireError::new("verb", format!("{:?} is not a verb", message.verb)))?,
            follows: (message.follows != 0).then_some(Seq(message.follows)),
        },
        trace: parse_optional("traceparent", &message.traceparent)?,
        term: Term(message.term),
        prev: RecordHash(hash),
        record_first: Seq(message.record_first),
        record_len: message.record_len,
        project: parse_optional("project", &message.project)?,
        name: name.map(String::from),
        event,
    })
}

fn named(event: &Event, names: &Projection) -> (String, String) {
    match event {
        Event::VmCreated { project, name, .. } => (project.to_string(), name.to_string()),
        Event::HostRegistered { name, .. } => (String::new(), name.to_string()),
        other => match other.resource() {
            Resource::Vm(id) => names
                .vm(id)
                .map(|vm| (vm.project.to_string(), vm.name.to_string()))
                .unwrap_or_default(),
            Resource::Host(id) => {
                let name = names.host(id).map(|host| host.name.to_string());
                (String::new(), name.unwrap_or_default())
            }
            Resource::Cluster => Default::default(),
        },
    }
}
