//! The words of an answer: what came of a command, from domain to wire.

use chv_domain::{Decided, Event, Projection, Record, Rejection, Resource, Seq};
use chv_eventlog::NoDisk;
use chv_proto::{convert, v1};

/// What is sent back.
pub(crate) type Answer = Result<v1::Accepted, v1::Refused>;

/// The answer to a decided command. `state` is the state after it.
pub(crate) fn accepted(state: &Projection, decided: &Decided) -> v1::Accepted {
    match decided {
        Decided::Record(record) => v1::Accepted {
            placement: placement(record),
            ..about(state, first_resource(record), Some((record.first, record.last())))
        },
        Decided::Repeat(outcome) => v1::Accepted {
            repeated_answer: true,
            ..about(state, Some(outcome.resource), Some((outcome.first, outcome.last)))
        },
        Decided::Unchanged { resource, .. } => v1::Accepted {
            unchanged: true,
            ..about(state, Some(*resource), None)
        },
    }
}

fn first_resource(record: &Record) -> Option<Resource> {
    record.events.first().map(Event::resource)
}

fn about(state: &Projection, resource: Option<Resource>, span: Option<(Seq, Seq)>) -> v1::Accepted {
    let (first, last) = span.unwrap_or_default();
    let mut answer = v1::Accepted {
        first_seq: first.0,
        last_seq: last.0,
        ..v1::Accepted::default()
    };
    let host = match resource {
        Some(Resource::Vm(id)) => {
            answer.vm = id.to_string();
            let vm = state.vm(id);
            answer.revision = vm.map_or(0, |vm| vm.revision().0);
            vm.and_then(|vm| vm.placement).map(|placement| placement.host)
        }
        Some(Resource::Host(id)) => {
            answer.revision = state.host(id).map_or(0, |host| host.revision.0);
            Some(id)
        }
        Some(Resource::Cluster) => {
            answer.revision = state.cluster().revision.0;
            None
        }
        None => None,
    };
    if let Some(id) = host {
        answer.host_id = id.to_string();
        answer.host = state
            .host(id)
            .map(|host| host.name.to_string())
            .unwrap_or_default();
    }
    answer
}

fn placement(record: &Record) -> String {
    let placed = record.events.iter().find_map(|event| match event {
        Event::VmPlaced { placed, .. } => Some(placed.to_string()),
        _ => None,
    });
    placed.unwrap_or_default()
}

/// The answer to a rejected command.
pub(crate) fn rejected(rejection: &Rejection) -> v1::Refused {
    convert::refused(rejection.code.as_str(), rejection.message.clone(), "")
}

/// Refusals that say nothing about the command: the same one may succeed later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TryAgain {
    /// The queue of commands is full.
    Busy,
    /// This replica does not lead, or no longer.
    NotLeader,
    /// The leader's disk, or too many others', takes no more of the log.
    NoDisk(NoDisk),
    /// The log took too long; the command may or may not have been done.
    Unavailable,
    /// This replica has not yet applied what the query asks to see.
    Behind,
}

impl TryAgain {
    pub(crate) fn refused(&self) -> v1::Refused {
        let with_disks;
        let (code, message, retry_after_ms) = match self {
            Self::Busy => (
                "busy",
                "too many commands are waiting; send it again, with the same id",
                50,
            ),
            Self::NotLeader => (
                "not_leader",
                "this replica does not lead; send it again, with the same id",
                20,
            ),
            Self::NoDisk(disks) => {
                let (code, what) = match disks.is_read_only() {
                    true => ("disk_read_only", "can't be written"),
                    false => ("disk_full", "are nearly full"),
                };
                with_disks = format!(
                    "disks of replicas {what}, so no commands are taken; send it again once that is over, with the \
                     same id: {disks}"
                );
                (code, with_disks.as_str(), 1_000)
            }
            Self::Unavailable => (
                "unavailable",
                "the log did not answer in time; send it again, with the same id",
                200,
            ),
            Self::Behind => (
                "behind",
                "this replica has not yet seen the event asked for; ask again",
                100,
            ),
        };
        v1::Refused {
            retryable: true,
            retry_after_ms,
            ..convert::refused(code, message, "")
        }
    }
}
