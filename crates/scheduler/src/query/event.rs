//! Reads of events: the audit trail, from this replica's own log.

use chv_domain::{Event, HostName, Projection, Record, RejectionCode, Resource, Seq, VmRef};
use chv_eventlog::Query;
use chv_proto::convert::{self, refused};
use chv_proto::v1;
use tracing::warn;

use super::{PAGE_BYTES, PAGE_ENTRIES, Reader};

/// How many bytes of records are read from the log for one page; events are larger on the wire than on
/// the disk.
const READ_BYTES: usize = PAGE_BYTES / 2;

pub(super) async fn list(
    reader: &Reader,
    state: &Projection,
    query: v1::ListEvents,
) -> Result<v1::EventPage, v1::Refused> {
    let filter = Filter::of(state, &query)?;
    let from = Seq(query.from_seq.max(1));
    let limit = match query.limit as usize {
        0 => PAGE_ENTRIES,
        limit => limit.min(PAGE_ENTRIES),
    };
    let found = match &filter.index {
        None => reader.log.read(from, limit, READ_BYTES).await,
        Some(index) => reader.log.find(index.clone(), from, limit, READ_BYTES).await,
    };
    let records = found.map_err(|error| {
        warn!(%error, %from, "can't read events");
        v1::Refused {
            retryable: true,
            retry_after_ms: 500,
            ..refused("unavailable", error.to_string(), "")
        }
    })?;
    Ok(page(state, &filter, &records, from, limit))
}

fn page(state: &Projection, filter: &Filter, records: &[Record], from: Seq, limit: usize) -> v1::EventPage {
    let (mut events, mut bytes) = (Vec::new(), 0);
    let end = state.seq().next();
    let mut next = from;
    for record in records {
        for (index, (seq, event)) in record.numbered().enumerate() {
            if seq < from || !filter.wants(event) {
                continue;
            }
            let message = convert::event_to_wire(record, index, state);
            bytes += prost::Message::encoded_len(&message);
            if events.len() == limit || (bytes > PAGE_BYTES && !events.is_empty()) {
                return v1::EventPage {
                    events,
                    next_seq: seq.0,
                    more: true,
                };
            }
            events.push(message);
        }
        next = record.last().next();
    }
    let exhausted = match filter.index {
        // Only nothing at all says that the index has no more: a page also ends by its size.
        Some(_) => records.is_empty(),
        None => next >= end,
    };
    // What was looked at without finding more was looked at to the end.
    let next = if exhausted { next.max(end) } else { next };
    v1::EventPage {
        events,
        next_seq: next.0,
        more: !exhausted,
    }
}

/// Which events are wanted: the index that finds their records, and the resource that they must be about,
/// since a record may hold events about others too.
struct Filter {
    index: Option<Query>,
    resource: Option<Resource>,
}

impl Filter {
    fn of(state: &Projection, query: &v1::ListEvents) -> Result<Self, v1::Refused> {
        let mut filters = Vec::new();
        let mut resource = None;
        if query.vm.is_some() {
            let vm = convert::vm_ref_from_wire(query.vm.clone(), "list_events.vm")
                .map_err(|error| convert::refused_wire(&error))?;
            let id = vm_id(state, &vm)?;
            resource = Some(Resource::Vm(id));
            filters.push(Query::Resource(Resource::Vm(id)));
        }
        if !query.host.is_empty() {
            let name: HostName = query
                .host
                .parse()
                .map_err(|error| invalid("list_events.host", &error))?;
            let host = state.host_named(&name).ok_or_else(|| {
                let message = format!("there is no host {name}; `chv host list` shows those that are");
                refused(RejectionCode::NotFound.as_str(), message, "")
            })?;
            resource = Some(Resource::Host(host.id));
            filters.push(Query::Resource(Resource::Host(host.id)));
        }
        if !query.actor.is_empty() {
            filters.push(Query::Actor(
                query
                    .actor
                    .parse()
                    .map_err(|error| invalid("list_events.actor", &error))?,
            ));
        }
        if !query.command.is_empty() {
            let command = query
                .command
                .parse()
                .map_err(|error| invalid("list_events.command", &error))?;
            filters.push(Query::Command(command));
        }
        if filters.len() > 1 {
            let message = "ask for one of vm, host, actor and command at a time".to_owned();
            return Err(refused("invalid", message, ""));
        }
        Ok(Self {
            index: filters.pop(),
            resource,
        })
    }

    fn wants(&self, event: &Event) -> bool {
        self.resource.is_none_or(|resource| event.resource() == resource)
    }
}

fn vm_id(state: &Projection, vm: &VmRef) -> Result<chv_domain::VmId, v1::Refused> {
    if let VmRef::Id(id) = vm {
        return Ok(*id);
    }
    state.resolve(vm).map(|vm| vm.id).ok_or_else(|| {
        let message = format!("there is no VM {vm}; name one that was deleted by its id");
        refused(RejectionCode::NotFound.as_str(), message, "")
    })
}

fn invalid(field: &str, error: &impl std::fmt::Display) -> v1::Refused {
    refused("invalid", error.to_string(), field)
}
