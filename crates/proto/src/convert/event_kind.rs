//! What each kind of event carries. A new kind gets its arm in both directions here.

use chv_domain::{Epoch, Event, ReplicaId, Seq, Timestamp};

use super::cluster::{addresses_from_wire, addresses_to_wire, replica_from_wire};
use super::error::{WireError, parse};
use super::host::{facts_from_wire, facts_to_wire};
use super::observation::{
    aftermath_from_wire, aftermath_to_wire, exit_from_wire, exit_to_wire, fields_from_wire, fields_to_wire,
};
use super::placement::{placed_from_wire, placed_to_wire};
use super::retention::{forgotten_from_wire, forgotten_to_wire, retention_from_wire, retention_to_wire};
use super::spec::{spec_from_wire, spec_to_wire};
use super::vm::{power_from_wire, power_to_wire, stop_how_from_wire, stop_how_to_wire};
use crate::v1;
use crate::v1::event_message::Event as Wire;

pub(super) fn kind_to_wire(event: &Event) -> Wire {
    match event {
        Event::HostRegistered { host, name, facts } => Wire::HostRegistered(v1::HostRegistered {
            host: host.to_string(),
            name: name.to_string(),
            facts: Some(facts_to_wire(facts)),
        }),
        Event::HostFactsChanged { host, facts } => Wire::HostFactsChanged(v1::HostFactsChanged {
            host: host.to_string(),
            facts: Some(facts_to_wire(facts)),
        }),
        Event::HostCordoned { host } => Wire::HostCordoned(v1::HostCordoned {
            host: host.to_string(),
        }),
        Event::HostUncordoned { host } => Wire::HostUncordoned(v1::HostUncordoned {
            host: host.to_string(),
        }),
        Event::VmCreated {
            vm,
            project,
            name,
            labels,
            spec,
            power,
        } => Wire::VmCreated(v1::VmCreated {
            vm: vm.to_string(),
            project: project.to_string(),
            name: name.to_string(),
            labels: labels.clone(),
            spec: Some(spec_to_wire(spec)),
            power: Some(power_to_wire(*power)),
        }),
        Event::VmPlaced { vm, placed } => Wire::VmPlaced(placed_to_wire(*vm, placed)),
        Event::VmStartRequested { vm } => Wire::VmStartRequested(v1::VmStartRequested { vm: vm.to_string() }),
        Event::VmStopRequested { vm, how } => Wire::VmStopRequested(v1::VmStopRequested {
            vm: vm.to_string(),
            timeout_s: stop_how_to_wire(*how),
        }),
        Event::VmDeleteRequested { vm } => {
            Wire::VmDeleteRequested(v1::VmDeleteRequested { vm: vm.to_string() })
        }
        Event::VmStarted {
            vm,
            epoch,
            hypervisor,
            pid,
            took_us,
        } => Wire::VmStarted(v1::VmStarted {
            vm: vm.to_string(),
            epoch: epoch.0.0,
            hypervisor: hypervisor.to_string(),
            pid: *pid,
            took_us: *took_us,
        }),
        Event::VmReady { vm, epoch } => Wire::VmReady(v1::VmReady {
            vm: vm.to_string(),
            epoch: epoch.0.0,
        }),
        Event::VmAdopted {
            vm,
            epoch,
            hypervisor,
            pid,
            uptime_ms,
            paused,
        } => Wire::VmAdopted(v1::VmAdopted {
            vm: vm.to_string(),
            epoch: epoch.0.0,
            hypervisor: hypervisor.to_string(),
            pid: *pid,
            uptime_ms: *uptime_ms,
            paused: *paused,
        }),
        Event::VmBinned { vm, until, how } => Wire::VmBinned(v1::VmBinned {
            vm: vm.to_string(),
            until_us: until.0,
            timeout_s: stop_how_to_wire(*how),
        }),
        Event::VmUndeleted { vm, name } => Wire::VmUndeleted(v1::VmUndeleted {
            vm: vm.to_string(),
            name: name.to_string(),
        }),
        Event::VmExited {
            vm,
            epoch,
            reason,
            console,
            then,
        } => Wire::VmExited(v1::VmExited {
            vm: vm.to_string(),
            epoch: epoch.0.0,
            reason: Some(exit_to_wire(reason)),
            console: console.clone(),
            then: aftermath_to_wire(*then),
        }),
        Event::VmBlocked { vm, epoch, reason } => Wire::VmBlocked(v1::VmBlocked {
            vm: vm.to_string(),
            epoch: epoch.0.0,
            reason: reason.clone(),
        }),
        Event::VmUnblocked { vm, epoch } => Wire::VmUnblocked(v1::VmUnblocked {
            vm: vm.to_string(),
            epoch: epoch.0.0,
        }),
        Event::VmPauseRequested { vm } => Wire::VmPauseRequested(v1::VmPauseRequested { vm: vm.to_string() }),
        Event::VmResumeRequested { vm } => {
            Wire::VmResumeRequested(v1::VmResumeRequested { vm: vm.to_string() })
        }
        Event::VmRebootRequested { vm, how } => Wire::VmRebootRequested(v1::VmRebootRequested {
            vm: vm.to_string(),
            timeout_s: stop_how_to_wire(*how),
        }),
        Event::VmRenamed { vm, name } => Wire::VmRenamed(v1::VmRenamed {
            vm: vm.to_string(),
            name: name.to_string(),
        }),
        Event::VmLabelsChanged { vm, labels } => Wire::VmLabelsChanged(v1::VmLabelsChanged {
            vm: vm.to_string(),
            labels: labels.clone(),
        }),
        Event::VmAnnotationsChanged { vm, annotations } => {
            Wire::VmAnnotationsChanged(v1::VmAnnotationsChanged {
                vm: vm.to_string(),
                annotations: annotations.clone(),
            })
        }
        Event::VmProtectionChanged { vm, protected } => Wire::VmProtectionChanged(v1::VmProtectionChanged {
            vm: vm.to_string(),
            protected: *protected,
        }),
        Event::VmSpecChanged { vm, spec } => Wire::VmSpecChanged(v1::VmSpecChanged {
            vm: vm.to_string(),
            spec: Some(spec_to_wire(spec)),
        }),
        Event::VmSpecApplied {
            vm,
            epoch,
            restart_needed,
        } => Wire::VmSpecApplied(v1::VmSpecApplied {
            vm: vm.to_string(),
            epoch: epoch.0.0,
            restart_needed: fields_to_wire(restart_needed),
        }),
        Event::VmPaused { vm, epoch } => Wire::VmPaused(v1::VmPaused {
            vm: vm.to_string(),
            epoch: epoch.0.0,
        }),
        Event::VmResumed { vm, epoch } => Wire::VmResumed(v1::VmResumed {
            vm: vm.to_string(),
            epoch: epoch.0.0,
        }),
        Event::VmRebooted { vm, epoch, order } => Wire::VmRebooted(v1::VmRebooted {
            vm: vm.to_string(),
            epoch: epoch.0.0,
            order: order.unwrap_or_default().0,
        }),
        Event::VmDeleted { vm } => Wire::VmDeleted(v1::VmDeleted { vm: vm.to_string() }),
        Event::ClusterFormed { replicas } => Wire::ClusterFormed(v1::ClusterFormed {
            replicas: addresses_to_wire(replicas),
        }),
        Event::ReplicaAdded {
            replica,
            address,
            instead_of,
        } => Wire::ReplicaAdded(v1::ReplicaAdded {
            replica: replica.get(),
            address: address.to_string(),
            instead_of: instead_of.map_or(0, ReplicaId::get),
        }),
        Event::ReplicaJoined { replica } => Wire::ReplicaJoined(v1::ReplicaJoined {
            replica: replica.get(),
        }),
        Event::ReplicaRemoved { replica } => Wire::ReplicaRemoved(v1::ReplicaRemoved {
            replica: replica.get(),
        }),
        Event::ReplicaLeft { replica } => Wire::ReplicaLeft(v1::ReplicaLeft {
            replica: replica.get(),
        }),
        Event::StepDownRequested { leader } => {
            Wire::StepDownRequested(v1::StepDownRequested { leader: leader.get() })
        }
        Event::RetentionSet { retention } => Wire::RetentionSet(v1::RetentionSet {
            retention: Some(retention_to_wire(*retention)),
        }),
        Event::HistoryForgotten { forgotten } => Wire::HistoryForgotten(v1::HistoryForgotten {
            forgotten: Some(forgotten_to_wire(*forgotten)),
        }),
        Event::ReplicaIntroduced { replica, directory } => Wire::ReplicaIntroduced(v1::ReplicaIntroduced {
            replica: replica.get(),
            directory: directory.to_string(),
        }),
        Event::FormatRaised { format } => Wire::FormatRaised(v1::FormatRaised { format: *format }),
    }
}

const fn epoch(number: u64) -> Epoch {
    Epoch(Seq(number))
}

pub(super) fn kind_from_wire(event: Wire) -> Result<Event, WireError> {
    let (field, event) = match event {
        Wire::HostRegistered(event) => ("host_registered", host_registered(event)),
        Wire::HostFactsChanged(event) => ("host_facts_changed", host_facts_changed(event)),
        Wire::HostCordoned(event) => (
            "host_cordoned",
            parse("host", &event.host).map(|host| Event::HostCordoned { host }),
        ),
        Wire::HostUncordoned(event) => (
            "host_uncordoned",
            parse("host", &event.host).map(|host| Event::HostUncordoned { host }),
        ),
        Wire::VmCreated(event) => ("vm_created", vm_created(event)),
        Wire::VmPlaced(event) => ("vm_placed", vm_placed(event)),
        Wire::VmStartRequested(event) => (
            "vm_start_requested",
            parse("vm", &event.vm).map(|vm| Event::VmStartRequested { vm }),
        ),
        Wire::VmStopRequested(event) => ("vm_stop_requested", vm_stop_requested(&event)),
        Wire::VmDeleteRequested(event) => (
            "vm_delete_requested",
            parse("vm", &event.vm).map(|vm| Event::VmDeleteRequested { vm }),
        ),
        Wire::VmStarted(event) => ("vm_started", vm_started(&event)),
        Wire::VmReady(event) => (
            "vm_ready",
            parse("vm", &event.vm).map(|vm| Event::VmReady {
                vm,
                epoch: epoch(event.epoch),
            }),
        ),
        Wire::VmAdopted(event) => ("vm_adopted", vm_adopted(&event)),
        Wire::VmExited(event) => ("vm_exited", vm_exited(event)),
        Wire::VmBinned(event) => ("vm_binned", vm_binned(&event)),
        Wire::VmUndeleted(event) => ("vm_undeleted", vm_undeleted(&event)),
        Wire::VmBlocked(event) => (
            "vm_blocked",
            parse("vm", &event.vm).map(|vm| Event::VmBlocked {
                vm,
                epoch: epoch(event.epoch),
                reason: event.reason,
            }),
        ),
        Wire::VmUnblocked(event) => (
            "vm_unblocked",
            parse("vm", &event.vm).map(|vm| Event::VmUnblocked {
                vm,
                epoch: epoch(event.epoch),
            }),
        ),
        Wire::VmPauseRequested(event) => (
            "vm_pause_requested",
            parse("vm", &event.vm).map(|vm| Event::VmPauseRequested { vm }),
        ),
        Wire::VmResumeRequested(event) => (
            "vm_resume_requested",
            parse("vm", &event.vm).map(|vm| Event::VmResumeRequested { vm }),
        ),
        Wire::VmRebootRequested(event) => ("vm_reboot_requested", vm_reboot_requested(&event)),
        Wire::VmRenamed(event) => ("vm_renamed", vm_renamed(&event)),
        Wire::VmLabelsChanged(event) => (
            "vm_labels_changed",
            parse("vm", &event.vm).map(|vm| Event::VmLabelsChanged {
                vm,
                labels: event.labels,
            }),
        ),
        Wire::VmAnnotationsChanged(event) => (
            "vm_annotations_changed",
            parse("vm", &event.vm).map(|vm| Event::VmAnnotationsChanged {
                vm,
                annotations: event.annotations,
            }),
        ),
        Wire::VmProtectionChanged(event) => (
            "vm_protection_changed",
            parse("vm", &event.vm).map(|vm| Event::VmProtectionChanged {
                vm,
                protected: event.protected,
            }),
        ),
        Wire::VmSpecChanged(event) => ("vm_spec_changed", vm_spec_changed(event)),
        Wire::VmSpecApplied(event) => ("vm_spec_applied", vm_spec_applied(event)),
        Wire::VmPaused(event) => (
            "vm_paused",
            parse("vm", &event.vm).map(|vm| Event::VmPaused {
                vm,
                epoch: epoch(event.epoch),
            }),
        ),
        Wire::VmResumed(event) => (
            "vm_resumed",
            parse("vm", &event.vm).map(|vm| Event::VmResumed {
                vm,
                epoch: epoch(event.epoch),
            }),
        ),
        Wire::VmRebooted(event) => (
            "vm_rebooted",
            parse("vm", &event.vm).map(|vm| Event::VmRebooted {
                vm,
                epoch: epoch(event.epoch),
                order: (event.order != 0).then_some(Seq(event.order)),
            }),
        ),
        Wire::VmDeleted(event) => (
            "vm_deleted",
            parse("vm", &event.vm).map(|vm| Event::VmDeleted { vm }),
        ),
        Wire::ClusterFormed(event) => (
            "cluster_formed",
            addresses_from_wire("replicas", event.replicas).map(|replicas| Event::ClusterFormed { replicas }),
        ),
        Wire::ReplicaAdded(event) => ("replica_added", replica_added(&event)),
        Wire::ReplicaJoined(event) => (
            "replica_joined",
            replica_from_wire("replica", event.replica).map(|replica| Event::ReplicaJoined { replica }),
        ),
        Wire::ReplicaRemoved(event) => (
            "replica_removed",
            replica_from_wire("replica", event.replica).map(|replica| Event::ReplicaRemoved { replica }),
        ),
        Wire::ReplicaLeft(event) => (
            "replica_left",
            replica_from_wire("replica", event.replica).map(|replica| Event::ReplicaLeft { replica }),
        ),
        Wire::StepDownRequested(event) => (
            "step_down_requested",
            replica_from_wire("leader", event.leader).map(|leader| Event::StepDownRequested { leader }),
        ),
        Wire::RetentionSet(event) => (
            "retention_set",
            retention_from_wire(event.retention).map(|retention| Event::RetentionSet { retention }),
        ),
        Wire::HistoryForgotten(event) => (
            "history_forgotten",
            forgotten_from_wire(event.forgotten).map(|forgotten| Event::HistoryForgotten { forgotten }),
        ),
        Wire::ReplicaIntroduced(event) => ("replica_introduced", replica_introduced(&event)),
        Wire::FormatRaised(event) => ("format_raised", Ok(Event::FormatRaised { format: event.format })),
    };
    event.map_err(|error| error.within(field))
}

fn replica_added(event: &v1::ReplicaAdded) -> Result<Event, WireError> {
    Ok(Event::ReplicaAdded {
        replica: replica_from_wire("replica", event.replica)?,
        address: parse("address", &event.address)?,
        instead_of: ReplicaId::new(event.instead_of),
    })
}

fn replica_introduced(event: &v1::ReplicaIntroduced) -> Result<Event, WireError> {
    Ok(Event::ReplicaIntroduced {
        replica: replica_from_wire("replica", event.replica)?,
        directory: parse("directory", &event.directory)?,
    })
}

fn host_registered(event: v1::HostRegistered) -> Result<Event, WireError> {
    let facts = event.facts.ok_or_else(|| WireError::missing("facts"))?;
    Ok(Event::HostRegistered {
        host: parse("host", &event.host)?,
        name: parse("name", &event.name)?,
        facts: facts_from_wire(facts).map_err(|error| error.within("facts"))?,
    })
}

fn host_facts_changed(event: v1::HostFactsChanged) -> Result<Event, WireError> {
    let facts = event.facts.ok_or_else(|| WireError::missing("facts"))?;
    Ok(Event::HostFactsChanged {
        host: parse("host", &event.host)?,
        facts: facts_from_wire(facts).map_err(|error| error.within("facts"))?,
    })
}

fn vm_created(event: v1::VmCreated) -> Result<Event, WireError> {
    let spec = event.spec.ok_or_else(|| WireError::missing("spec"))?;
    let power = event.power.ok_or_else(|| WireError::missing("power"))?;
    Ok(Event::VmCreated {
        vm: parse("vm", &event.vm)?,
        project: parse("project", &event.project)?,
        name: parse("name", &event.name)?,
        labels: event.labels,
        spec: spec_from_wire(spec).map_err(|error| error.within("spec"))?.into(),
        power: power_from_wire(power).map_err(|error| error.within("power"))?,
    })
}

fn vm_spec_changed(event: v1::VmSpecChanged) -> Result<Event, WireError> {
    let spec = event.spec.ok_or_else(|| WireError::missing("spec"))?;
    Ok(Event::VmSpecChanged {
        vm: parse("vm", &event.vm)?,
        spec: spec_from_wire(spec).map_err(|error| error.within("spec"))?.into(),
    })
}

fn vm_spec_applied(event: v1::VmSpecApplied) -> Result<Event, WireError> {
    Ok(Event::VmSpecApplied {
        vm: parse("vm", &event.vm)?,
        epoch: epoch(event.epoch),
        restart_needed: fields_from_wire(event.restart_needed)?,
    })
}

fn vm_placed(event: v1::VmPlaced) -> Result<Event, WireError> {
    Ok(Event::VmPlaced {
        vm: parse("vm", &event.vm)?,
        placed: placed_from_wire(event)?,
    })
}

fn vm_stop_requested(event: &v1::VmStopRequested) -> Result<Event, WireError> {
    Ok(Event::VmStopRequested {
        vm: parse("vm", &event.vm)?,
        how: stop_how_from_wire(event.timeout_s)?,
    })
}

fn vm_renamed(event: &v1::VmRenamed) -> Result<Event, WireError> {
    Ok(Event::VmRenamed {
        vm: parse("vm", &event.vm)?,
        name: parse("name", &event.name)?,
    })
}

fn vm_reboot_requested(event: &v1::VmRebootRequested) -> Result<Event, WireError> {
    Ok(Event::VmRebootRequested {
        vm: parse("vm", &event.vm)?,
        how: stop_how_from_wire(event.timeout_s)?,
    })
}

fn vm_started(event: &v1::VmStarted) -> Result<Event, WireError> {
    Ok(Event::VmStarted {
        vm: parse("vm", &event.vm)?,
        epoch: epoch(event.epoch),
        hypervisor: parse("hypervisor", &event.hypervisor)?,
        pid: event.pid,
        took_us: event.took_us,
    })
}

fn vm_adopted(event: &v1::VmAdopted) -> Result<Event, WireError> {
    Ok(Event::VmAdopted {
        vm: parse("vm", &event.vm)?,
        epoch: epoch(event.epoch),
        hypervisor: parse("hypervisor", &event.hypervisor)?,
        pid: event.pid,
        uptime_ms: event.uptime_ms,
        paused: event.paused,
    })
}

fn vm_binned(event: &v1::VmBinned) -> Result<Event, WireError> {
    Ok(Event::VmBinned {
        vm: parse("vm", &event.vm)?,
        until: Timestamp(event.until_us),
        how: stop_how_from_wire(event.timeout_s)?,
    })
}

fn vm_undeleted(event: &v1::VmUndeleted) -> Result<Event, WireError> {
    Ok(Event::VmUndeleted {
        vm: parse("vm", &event.vm)?,
        name: parse("name", &event.name)?,
    })
}

fn vm_exited(event: v1::VmExited) -> Result<Event, WireError> {
    Ok(Event::VmExited {
        vm: parse("vm", &event.vm)?,
        epoch: epoch(event.epoch),
        reason: exit_from_wire(event.reason)?,
        console: event.console,
        then: aftermath_from_wire(event.then)?,
    })
}
