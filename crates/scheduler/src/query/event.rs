//! Reads of events: the audit trail, from this replica's own log.

use chv_domain::{Event, HostName, Projection, RejectionCode, Resource, Seq, Timestamp, VmRef};
use chv_eventlog::{Found, Limit, Order, ReadError, Search};
use chv_proto::convert::{self, refused};
use chv_proto::v1;
use tracing::warn;

use super::{PAGE_ENTRIES, Reader};

pub(super) async fn list(
    reader: &Reader,
    state: &Projection,
    query: v1::ListEvents,
) -> Result<v1::EventPage, v1::Refused> {
    let search = search(state, &query)?;
    let limit = match query.limit as usize {
        0 => PAGE_ENTRIES,
        limit => limit.min(PAGE_ENTRIES),
    };
    let room = reader.page_bytes();
    let found = reader.log.find(
        &search,
        Limit {
            records: limit,
            // Events are larger on the wire than on the disk.
            bytes: room / 2,
        },
    );
    let found = found.await.map_err(|error| unreadable(&error))?;
    Ok(page(state, &search, &found, limit, room))
}

/// Why events can't be read, for who asked.
pub(super) fn unreadable(error: &ReadError) -> v1::Refused {
    if let ReadError::Gone { since, .. } = error {
        let message = format!("{error}, of {}", written(*since));
        return refused("gone", message, "list_events.from_seq");
    }
    warn!(%error, "can't read events");
    v1::Refused {
        retryable: true,
        retry_after_ms: 500,
        ..refused("unavailable", error.to_string(), "")
    }
}

/// As people and other programs write it, in UTC.
fn written(time: Timestamp) -> String {
    let micros = i64::try_from(time.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_microsecond(micros).map_or_else(|_| time.0.to_string(), |time| time.to_string())
}

fn page(state: &Projection, search: &Search, found: &Found, limit: usize, room: usize) -> v1::EventPage {
    let mut page = v1::EventPage {
        oldest_seq: found.kept.oldest.0,
        last_seq: found.kept.last.0,
        ..v1::EventPage::default()
    };
    let mut bytes = 0;
    for record in &found.records {
        let mut wanted: Vec<(usize, Seq)> = record
            .numbered()
            .enumerate()
            .filter(|(_, (seq, event))| (found.low..=found.high).contains(seq) && fits(search, event))
            .map(|(index, (seq, _))| (index, seq))
            .collect();
        if search.order == Order::NewestFirst {
            wanted.reverse();
        }
        for (index, seq) in wanted {
            let message = convert::event_to_wire(record, index, state);
            bytes += prost::Message::encoded_len(&message) + FRAMING;
            if page.events.len() == limit || (bytes > room && !page.events.is_empty()) {
                (page.next_seq, page.more) = (seq.0, true);
                return page;
            }
            page.events.push(message);
        }
    }
    page.more = found.next.is_some();
    page.next_seq = match (found.next, search.order) {
        (Some(next), _) => next.0,
        // What was looked at without finding more was looked at to the end.
        (None, Order::OldestFirst) => found.high.next().max(search.begin.unwrap_or_default()).0,
        (None, Order::NewestFirst) => 0,
    };
    page
}

/// What a message takes in a page beyond its own bytes.
const FRAMING: usize = 6;

/// Whether an event of a record that was found is wanted: the record may hold events about other things, too.
fn fits(search: &Search, event: &Event) -> bool {
    search
        .resource
        .is_none_or(|resource| event.resource() == resource)
}

fn search(state: &Projection, query: &v1::ListEvents) -> Result<Search, v1::Refused> {
    let millis = |millis: u64| (millis != 0).then(|| Timestamp::from_millis(millis));
    Ok(Search {
        resource: resource(state, query)?,
        actor: parsed(&query.actor, "list_events.actor")?,
        command: parsed(&query.command, "list_events.command")?,
        since: millis(query.from_time_ms),
        until: millis(query.until_time_ms),
        order: match query.backward {
            true => Order::NewestFirst,
            false => Order::OldestFirst,
        },
        begin: (query.from_seq != 0).then_some(Seq(query.from_seq)),
    })
}

fn resource(state: &Projection, query: &v1::ListEvents) -> Result<Option<Resource>, v1::Refused> {
    let host: Option<HostName> = parsed(&query.host, "list_events.host")?;
    match (&query.vm, host) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => {
            let message = "an event is about a VM or about a host: ask for one of them";
            Err(refused("invalid", message.to_owned(), "list_events.host"))
        }
        (Some(_), None) => {
            let vm = convert::vm_ref_from_wire(query.vm.clone(), "list_events.vm")
                .map_err(|error| convert::refused_wire(&error))?;
            Ok(Some(Resource::Vm(vm_id(state, &vm)?)))
        }
        (None, Some(name)) => match state.host_named(&name) {
            Some(host) => Ok(Some(Resource::Host(host.id))),
            None => {
                let message = format!("there is no host {name}; `chv host list` shows those that are");
                Err(refused(RejectionCode::NotFound.as_str(), message, ""))
            }
        },
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

fn parsed<T>(text: &str, field: &str) -> Result<Option<T>, v1::Refused>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse() {
        Ok(value) => Ok(Some(value)),
        Err(error) => Err(refused("invalid", error.to_string(), field)),
    }
}
