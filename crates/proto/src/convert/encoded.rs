//! What the leader sends of each command, as bytes: events, and what changed for hosts. The same messages as `event` and
//! `host` make, field for field, but written in one go; the property tests compare them. Numbers are the fields'
//! tags in the .proto files.

use bytes::Bytes;
use chv_domain::spec::Boot;
use chv_domain::{Actor, DesiredVm, Event, Placed, Projection, Record, Seq, TraceContext, VmId, VmSpec};
use prost::Message as _;
use ulid::Ulid;

use super::VERSION;
use super::event::named;
use super::event_kind::kind_to_wire;
use super::fields::Fields;
use super::host::FeedDelta;
use super::placement::finding_to_wire;
use super::spec::{
    attached_to_wire, cloud_init_to_wire, cpu_to_wire, disk_to_wire, memory_to_wire, nic_to_wire,
    restart_to_wire, rng_to_wire,
};
use super::vm::power_to_wire;
use crate::subject;

/// Room for most messages.
const USUAL: usize = 640;

/// The events of one record, each as the bytes of its [`EventMessage`](crate::v1::EventMessage). What they have in
/// common is encoded once: a message may be put together of encoded parts, in any order.
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
    /// An [`EventMessage`](crate::v1::EventMessage).
    pub message: Bytes,
}

impl<'a> EncodedEvents<'a> {
    /// Those of `record`.
    pub fn of(record: &'a Record) -> Self {
        let mut common = Vec::with_capacity(USUAL / 2);
        common_fields(&mut Fields(&mut common), record);
        Self { record, common }
    }

    /// The event number `index` (from 0); `None` when the record has not so many. `names` gives the state that the name
    /// of its VM or host is looked up in, where the record itself doesn't say it.
    pub fn get<'n>(&self, index: usize, names: impl FnOnce() -> &'n Projection) -> Option<EncodedEvent> {
        let event = self.record.events.get(index)?;
        let (project, name) = named(event, self.record, || names());
        let seq = self.record.first.plus(index as u64);
        let mut message = Vec::with_capacity(USUAL);
        message.extend_from_slice(&self.common);
        let mut fields = Fields(&mut message);
        fields.number(2, seq.0);
        fields.text(13, event.kind());
        fields.text(14, project);
        fields.text(15, name);
        event_fields(&mut fields, event);
        Some(EncodedEvent {
            seq,
            subject: subject::event(event, project, name),
            message: message.into(),
        })
    }
}

/// What changed for one host, as a [`FeedDelta`](crate::v1::FeedDelta).
pub fn encode_delta(delta: &FeedDelta) -> Vec<u8> {
    let mut message = Vec::with_capacity(USUAL * (delta.vms.len() + 1));
    let mut fields = Fields(&mut message);
    id(&mut fields, 1, delta.host.ulid());
    fields.number(2, delta.prev.unwrap_or_default().0);
    fields.number(3, delta.feed.0);
    for vm in &delta.vms {
        fields.message(4, |fields| desired_fields(fields, vm));
    }
    for gone in &delta.gone {
        id(&mut fields, 5, gone.ulid());
    }
    fields.number(15, VERSION.into());
    message
}

/// What all events of a record say alike.
fn common_fields(fields: &mut Fields<'_>, record: &Record) {
    fields.number(1, VERSION.into());
    fields.number(3, record.time.0);
    match &record.actor {
        Actor::User(name) => fields.text(4, name.as_str()),
        actor @ (Actor::Host(_) | Actor::Replica(_)) => fields.shown(4, actor),
    }
    id(fields, 5, record.cause.command.ulid());
    fields.text(6, record.cause.verb.as_str());
    fields.number(7, record.cause.follows.unwrap_or_default().0);
    trace(fields, 8, record.trace);
    fields.number(9, record.term.0);
    fields.bytes(10, &record.prev.0);
    fields.number(11, record.first.0);
    fields.number(12, record.events.len() as u64);
}

fn event_fields(fields: &mut Fields<'_>, event: &Event) {
    match event {
        Event::VmCreated {
            vm,
            project,
            name,
            labels,
            spec,
            power,
        } => fields.message(30, |fields| {
            id(fields, 1, vm.ulid());
            fields.text(2, project.as_str());
            fields.text(3, name.as_str());
            for (key, value) in labels {
                fields.message(4, |fields| {
                    fields.text(1, key);
                    fields.text(2, value);
                });
            }
            fields.message(5, |fields| spec_fields(fields, spec));
            fields.ready(6, &power_to_wire(*power));
        }),
        Event::VmPlaced { vm, placed } => fields.message(31, |fields| placed_fields(fields, *vm, placed)),
        other => kind_to_wire(other).encode(fields.0),
    }
}

fn placed_fields(fields: &mut Fields<'_>, vm: VmId, placed: &Placed) {
    id(fields, 1, vm.ulid());
    id(fields, 2, placed.host.ulid());
    fields.text(3, placed.name.as_str());
    for verdict in &placed.verdicts {
        fields.message(4, |fields| {
            fields.text(1, verdict.host.as_str());
            finding_to_wire(&verdict.finding).encode(fields.0);
        });
    }
    fields.number(5, placed.others.into());
}

fn spec_fields(fields: &mut Fields<'_>, spec: &VmSpec) {
    fields.ready(1, &cpu_to_wire(&spec.cpu));
    fields.ready(2, &memory_to_wire(&spec.memory));
    fields.message(3, |fields| boot_fields(fields, &spec.boot));
    for disk in &spec.disks {
        fields.ready(4, &disk_to_wire(disk));
    }
    for nic in &spec.nics {
        fields.ready(5, &nic_to_wire(nic));
    }
    if let Some(hypervisor) = spec.hypervisor {
        fields.text(6, hypervisor.as_str());
    }
    fields.number(7, spec.stop_timeout.seconds().into());
    fields.text(8, spec.on_host_loss.as_str());
    fields.text(9, rng_to_wire(spec.rng));
    fields.number(10, spec.watchdog.into());
    if let Some(cloud_init) = &spec.cloud_init {
        fields.ready(11, &cloud_init_to_wire(cloud_init));
    }
    if let Some(machine) = spec.machine {
        fields.text(12, machine.as_str());
    }
    let attached = attached_to_wire(spec).encode(fields.0);
    attached.expect("a buffer takes every message");
    if let Some(restart) = restart_to_wire(&spec.restart) {
        fields.ready(30, &restart);
    }
    let priority = i32::from(spec.start_priority);
    // As a sint32 is sent.
    fields.number(
        31,
        u64::from(((priority << 1) ^ (priority >> 31)).cast_unsigned()),
    );
}

fn boot_fields(fields: &mut Fields<'_>, boot: &Boot) {
    if let Some(kernel) = &boot.kernel {
        fields.text(1, kernel.as_str());
    }
    if let Some(initramfs) = &boot.initramfs {
        fields.text(2, initramfs.as_str());
    }
    fields.text(3, boot.cmdline.as_str());
    if let Some(firmware) = &boot.firmware {
        fields.text(4, firmware.as_str());
    }
    for id in &boot.order {
        fields.text(5, id.as_str());
    }
}

fn desired_fields(fields: &mut Fields<'_>, vm: &DesiredVm) {
    id(fields, 1, vm.vm.ulid());
    fields.text(2, vm.project.as_str());
    fields.text(3, vm.name.as_str());
    fields.message(4, |fields| spec_fields(fields, &vm.spec));
    fields.ready(5, &power_to_wire(vm.power));
    fields.number(6, vm.epoch.0.0);
    fields.number(7, vm.revision.0);
    trace(fields, 8, vm.trace);
    fields.number(9, vm.changed.0);
}

fn id(fields: &mut Fields<'_>, tag: u32, id: Ulid) {
    fields.text(tag, id.array_to_str(&mut [0; ulid::ULID_LEN]));
}

fn trace(fields: &mut Fields<'_>, tag: u32, trace: Option<TraceContext>) {
    if let Some(trace) = trace {
        fields.shown(tag, trace);
    }
}
