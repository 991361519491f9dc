//! Events with what their records say. What each kind of event carries is in `event_kind`.

use chv_domain::{
    Actor, Cause, Event, ProjectName, Projection, Record, RecordHash, Resource, Seq, Term, Timestamp,
    TraceContext, Verb, VmName,
};

use super::VERSION;
use super::error::{WireError, parse, parse_optional};
use super::event_kind::{kind_from_wire, kind_to_wire};
use crate::v1;

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

/// The event number `index` (from 0) of `record`, as it is sent. `names` is the state that its VM's or host's name is
/// looked up in, where the record doesn't say it. An index that the record does not have gives a message without an event.
pub fn event_to_wire(record: &Record, index: usize, names: &Projection) -> v1::EventMessage {
    let event = record.events.get(index);
    let (project, name) = event
        .map(|event| named(event, record, || names))
        .unwrap_or_default();
    v1::EventMessage {
        version: VERSION,
        seq: record.first.plus(index as u64).0,
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
        kind: event.map(Event::kind).unwrap_or_default().to_owned(),
        project: project.to_owned(),
        name: name.to_owned(),
        event: event.map(kind_to_wire),
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

/// The project and the name of what an event is about, as far as they are known: out of the event, or out of the first of
/// its record, which creates what the others are about; else out of the state that `names` gives.
pub(super) fn named<'a>(
    event: &'a Event,
    record: &'a Record,
    names: impl FnOnce() -> &'a Projection,
) -> (&'a str, &'a str) {
    let about = event.resource();
    let said = [Some(event), record.events.first()].into_iter().flatten();
    let said = said
        .filter(|event| event.resource() == about)
        .find_map(|event| match event {
            Event::VmCreated { project, name, .. } => Some((project.as_str(), name.as_str())),
            Event::HostRegistered { name, .. } => Some(("", name.as_str())),
            _ => None,
        });
    let looked_up = || match about {
        Resource::Vm(id) => {
            let vm = names().vm(id);
            vm.map(|vm| (vm.project.as_str(), vm.name.as_str()))
        }
        Resource::Host(id) => names().host(id).map(|host| ("", host.name.as_str())),
        Resource::Cluster => None,
    };
    said.or_else(looked_up).unwrap_or_default()
}
