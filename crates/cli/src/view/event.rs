//! An event, as it is shown: one line for people, one object for programs.

use std::collections::HashMap;

use chv_domain::units::format_mib;
use chv_domain::{Aftermath, Event, Resource, StopHow, Verb};
use chv_proto::convert::EventEntry;
use serde::Serialize;
use serde_json::Value;

use crate::output::{duration, printable, rfc3339};

/// An event for programs.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct EventView {
    seq: u64,
    time: String,
    actor: String,
    command: String,
    verb: &'static str,
    follows: Option<u64>,
    trace: Option<String>,
    term: u64,
    kind: String,
    resource: ResourceView,
    data: Value,
}

#[derive(Debug, Clone, Serialize)]
struct ResourceView {
    kind: &'static str,
    id: String,
    project: Option<String>,
    name: Option<String>,
}

/// Shows events one after the other, and remembers the names of the VMs that it saw created: a deleted VM's
/// events come without its name.
#[derive(Debug, Default)]
pub(crate) struct EventShow {
    names: HashMap<Resource, (String, String)>,
}

/// The headings of [`EventShow::line`].
pub(crate) const HEADING: &str = "   SEQ  TIME                      ACTOR       CAUSE                                   EVENT             ON";

impl EventShow {
    /// Learns names from an event; call it once for each, in order, before it is shown.
    pub(crate) fn learn(&mut self, entry: &EventEntry) {
        let resource = entry.event.resource();
        match &entry.event {
            Event::VmCreated { project, name, .. } => {
                self.names
                    .insert(resource, (project.to_string(), name.to_string()));
            }
            Event::VmRenamed { name, .. } => {
                if let Some((_, known)) = self.names.get_mut(&resource) {
                    *known = name.to_string();
                }
            }
            Event::HostRegistered { name, .. } => {
                self.names.insert(resource, (String::new(), name.to_string()));
            }
            _ => {}
        }
    }

    /// Forgets what can't come any more.
    pub(crate) fn forget(&mut self, entry: &EventEntry) {
        if let Event::VmDeleted { .. } = entry.event {
            self.names.remove(&entry.event.resource());
        }
    }

    fn named(&self, entry: &EventEntry) -> (Option<String>, Option<String>) {
        let known = self.names.get(&entry.event.resource());
        let or = |text: Option<String>, known: Option<&String>| text.or_else(|| known.cloned());
        let project = or(
            entry.project.as_ref().map(ToString::to_string),
            known.map(|(project, _)| project),
        );
        let name = or(entry.name.clone(), known.map(|(_, name)| name));
        let present = |text: Option<String>| text.filter(|text| !text.is_empty());
        (present(project), present(name))
    }

    /// As a line for people.
    pub(crate) fn line(&self, entry: &EventEntry) -> String {
        let (project, name) = self.named(entry);
        let on = match (entry.event.resource(), project, name) {
            (Resource::Vm(_), Some(project), Some(name)) => format!("{project}/{name}"),
            (Resource::Vm(id), _, _) => format!("vm {id}"),
            (Resource::Host(_), _, Some(name)) => format!("host {name}"),
            (Resource::Host(id), _, None) => format!("host {id}"),
            (Resource::Cluster, _, _) => "cluster".to_owned(),
        };
        let cause = match entry.cause.follows {
            Some(seq) if entry.cause.verb == Verb::HostReport => format!("follows {seq}"),
            _ => format!("{} {}", entry.cause.verb, entry.cause.command),
        };
        let details = details(&entry.event);
        let line = format!(
            "{:>6}  {}  {:<10}  {cause:<38}  {:<16}  {on:<16}  {details}",
            entry.seq,
            rfc3339(entry.time),
            entry.actor,
            entry.event.kind(),
        );
        printable(line.trim_end()).into_owned()
    }

    /// As an object for programs.
    pub(crate) fn view(&self, entry: &EventEntry) -> EventView {
        let (project, name) = self.named(entry);
        let (kind, id) = match entry.event.resource() {
            Resource::Vm(id) => ("Vm", id.to_string()),
            Resource::Host(id) => ("Host", id.to_string()),
            Resource::Cluster => ("Cluster", String::new()),
        };
        EventView {
            seq: entry.seq.0,
            time: rfc3339(entry.time),
            actor: entry.actor.to_string(),
            command: entry.cause.command.to_string(),
            verb: entry.cause.verb.as_str(),
            follows: entry.cause.follows.map(|seq| seq.0),
            trace: entry.trace.map(|trace| trace.to_string()),
            term: entry.term.0,
            kind: entry.event.kind().to_owned(),
            resource: ResourceView {
                kind,
                id,
                project,
                name,
            },
            data: data(&entry.event),
        }
    }
}

/// The event's own fields, as the log has them, without the name of the variant around them.
fn data(event: &Event) -> Value {
    match serde_json::to_value(event) {
        Ok(Value::Object(variant)) => variant.into_iter().next().map_or(Value::Null, |(_, data)| data),
        _ => Value::Null,
    }
}

/// What an event says besides its kind, for people.
fn details(event: &Event) -> String {
    let millis = |ms: u64| duration(std::time::Duration::from_millis(ms));
    match event {
        Event::VmCreated { spec, .. } => {
            let boots = match (&spec.boot.kernel, &spec.boot.firmware) {
                (Some(kernel), _) => format!(", kernel {kernel}"),
                (None, Some(firmware)) => format!(", firmware {firmware}"),
                (None, None) => String::new(),
            };
            format!("vCPUs {}, memory {}{boots}", spec.cpu.vcpus, spec.memory.size)
        }
        Event::VmPlaced { placed, .. } => format!("on {placed}"),
        Event::VmStopRequested { how, .. } => match how {
            StopHow::Graceful(timeout) => {
                format!("power button, the hard way after {}s", timeout.seconds())
            }
            StopHow::Hard => "the hard way".to_owned(),
        },
        Event::VmRebootRequested { how, .. } => match how {
            StopHow::Graceful(timeout) => {
                format!("power button, a reset after {}s", timeout.seconds())
            }
            StopHow::Hard => "a reset".to_owned(),
        },
        Event::VmRenamed { name, .. } => format!("now {name}"),
        Event::VmLabelsChanged { labels: texts, .. }
        | Event::VmAnnotationsChanged {
            annotations: texts, ..
        } => {
            let pairs: Vec<_> = texts
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            pairs.join(", ")
        }
        Event::VmSpecChanged { spec, .. } => {
            format!("{} vCPUs, {} of memory", spec.cpu.vcpus, spec.memory.size)
        }
        Event::VmSpecApplied { restart_needed, .. } => match restart_needed.as_slice() {
            [] => "while it runs".to_owned(),
            fields => {
                let fields: Vec<_> = fields.iter().map(ToString::to_string).collect();
                format!("restart needed for {}", fields.join(", "))
            }
        },
        Event::VmProtectionChanged { protected, .. } => match protected {
            true => "can't be deleted".to_owned(),
            false => "can be deleted again".to_owned(),
        },
        Event::VmRebooted { order, .. } => match order {
            Some(order) => format!("as ordered by event {order}"),
            None => "by the guest itself".to_owned(),
        },
        Event::VmStarted {
            hypervisor,
            pid,
            took_us,
            ..
        } => format!("{hypervisor}, process {pid}, after {}", millis(took_us / 1_000)),
        Event::VmAdopted {
            hypervisor,
            pid,
            uptime_ms,
            paused,
            ..
        } => {
            let held = if *paused { ", paused" } else { "" };
            format!("{hypervisor}, process {pid}, up {}{held}", millis(*uptime_ms))
        }
        Event::VmBinned { until, .. } => format!("can be undeleted until {}", rfc3339(*until)),
        Event::VmUndeleted { name, .. } => format!("as {name}"),
        Event::VmExited { reason, then, .. } => match then {
            Aftermath::AsOrdered => reason.to_string(),
            Aftermath::Again(0) => format!("{reason}; it is started again"),
            Aftermath::Again(restart) => format!("{reason}; it is started again, {restart} in a row"),
            Aftermath::Stays(why) => format!("{reason}; it is not started again: {why}"),
        },
        Event::VmBlocked { reason, .. } => reason.clone(),
        Event::HostRegistered { facts, .. } | Event::HostFactsChanged { facts, .. } => {
            let kinds: Vec<&str> = facts.hypervisors.iter().map(|one| one.kind.as_str()).collect();
            format!(
                "vCPUs {}, memory {}, {}",
                facts.capacity.vcpus,
                format_mib(facts.capacity.memory_mib),
                kinds.join(",")
            )
        }
        Event::ClusterFormed { replicas } => {
            let each = replicas
                .iter()
                .map(|(replica, address)| format!("{replica}={address}"));
            format!("replicas {}", each.collect::<Vec<_>>().join(", "))
        }
        Event::ReplicaAdded {
            replica,
            address,
            instead_of,
        } => {
            let instead = instead_of.map_or_else(String::new, |old| format!(", instead of replica {old}"));
            format!("replica {replica} at {address}{instead}")
        }
        Event::ReplicaJoined { replica }
        | Event::ReplicaRemoved { replica }
        | Event::ReplicaLeft { replica }
        | Event::StepDownRequested { leader: replica } => format!("replica {replica}"),
        Event::RetentionSet { retention } => retention.to_string(),
        Event::HistoryForgotten { forgotten } => format!(
            "up to event {}; kept from {}",
            forgotten.upto,
            rfc3339(forgotten.kept_from)
        ),
        Event::ReplicaIntroduced { replica, directory } => {
            format!("replica {replica} has data directory {directory}")
        }
        Event::FormatRaised { format } => format!("records up to format {format}"),
        Event::VmStartRequested { .. }
        | Event::VmDeleteRequested { .. }
        | Event::VmReady { .. }
        | Event::VmUnblocked { .. }
        | Event::VmPauseRequested { .. }
        | Event::VmResumeRequested { .. }
        | Event::VmPaused { .. }
        | Event::VmResumed { .. }
        | Event::VmDeleted { .. }
        | Event::HostCordoned { .. }
        | Event::HostUncordoned { .. } => String::new(),
    }
}
