//! VMs: how they are named, what they should do, and what is known of them.

use chv_domain::{HostName, Phase, Power, Reboot, Seq, StopHow, Vm, VmRef};

use super::error::{WireError, parse};
use super::spec::{spec_to_wire, stop_timeout};
use crate::v1;

/// How a VM is named, as it is sent.
pub fn vm_ref_to_wire(vm: &VmRef) -> v1::VmRef {
    let vm = match vm {
        VmRef::Id(id) => v1::vm_ref::Vm::Id(id.to_string()),
        VmRef::Name(project, name) => v1::vm_ref::Vm::Named(v1::ProjectAndName {
            project: project.to_string(),
            name: name.to_string(),
        }),
    };
    v1::VmRef { vm: Some(vm) }
}

/// How a VM was named. `field` is where that stood; a VM must be named there.
pub fn vm_ref_from_wire(vm: Option<v1::VmRef>, field: &str) -> Result<VmRef, WireError> {
    let named = vm.and_then(|vm| vm.vm).ok_or_else(|| WireError::missing(field))?;
    let vm = match named {
        v1::vm_ref::Vm::Id(id) => parse("id", &id).map(VmRef::Id),
        v1::vm_ref::Vm::Named(named) => named_from_wire(&named).map_err(|error| error.within("named")),
    };
    vm.map_err(|error| error.within(field))
}

fn named_from_wire(named: &v1::ProjectAndName) -> Result<VmRef, WireError> {
    Ok(VmRef::Name(
        parse("project", &named.project)?,
        parse("name", &named.name)?,
    ))
}

/// What a VM should do, as it is sent.
pub fn power_to_wire(power: Power) -> v1::Power {
    let power = match power {
        Power::Running => v1::power::Power::Running(v1::power::Running {}),
        Power::Stopped(how) => v1::power::Power::Stopped(v1::power::Stopped {
            timeout_s: stop_how_to_wire(how),
        }),
        Power::Deleted => v1::power::Power::Deleted(v1::power::Deleted {}),
        Power::Paused => v1::power::Power::Paused(v1::power::Paused {}),
        Power::Rebooting(Reboot { order, how }) => v1::power::Power::Rebooting(v1::power::Rebooting {
            order: order.0,
            timeout_s: stop_how_to_wire(how),
        }),
    };
    v1::Power { power: Some(power) }
}

/// What a VM should do, as it was sent. Fields are named from the message's own root.
pub fn power_from_wire(power: v1::Power) -> Result<Power, WireError> {
    match power.power.ok_or_else(|| WireError::missing("power"))? {
        v1::power::Power::Running(v1::power::Running {}) => Ok(Power::Running),
        v1::power::Power::Stopped(stopped) => stop_how_from_wire(stopped.timeout_s)
            .map(Power::Stopped)
            .map_err(|error| error.within("stopped")),
        v1::power::Power::Deleted(v1::power::Deleted {}) => Ok(Power::Deleted),
        v1::power::Power::Paused(v1::power::Paused {}) => Ok(Power::Paused),
        v1::power::Power::Rebooting(rebooting) => match stop_how_from_wire(rebooting.timeout_s) {
            Ok(how) => Ok(Power::Rebooting(Reboot {
                order: Seq(rebooting.order),
                how,
            })),
            Err(error) => Err(error.within("rebooting")),
        },
    }
}

/// Seconds from the power button to the hard way; 0 for the hard way at once.
pub(super) fn stop_how_to_wire(how: StopHow) -> u32 {
    match how {
        StopHow::Graceful(timeout) => timeout.seconds(),
        StopHow::Hard => 0,
    }
}

pub(super) fn stop_how_from_wire(timeout_s: u32) -> Result<StopHow, WireError> {
    Ok(stop_timeout("timeout_s", timeout_s)?.map_or(StopHow::Hard, StopHow::Graceful))
}

/// A VM as the log knows it, for people and programs to read; nothing reads it back into a domain value.
/// `host` is the name of the host that it is placed on.
pub fn vm_to_wire(vm: &Vm, host: Option<&HostName>) -> v1::Vm {
    let mut wire = v1::Vm {
        id: vm.id.to_string(),
        project: vm.project.to_string(),
        name: vm.name.to_string(),
        labels: vm.labels.clone(),
        annotations: vm.aside().annotations,
        protected: vm.is_protected(),
        changing: vm
            .unapplied()
            .is_some_and(|unapplied| unapplied.restart_needed.is_none()),
        restart_needed: vm.restart_needed().iter().map(ToString::to_string).collect(),
        deleted_until_us: vm.binned().unwrap_or_default().0,
        stays: vm.stays().map(|why| why.to_string()).unwrap_or_default(),
        spec: Some(spec_to_wire(&vm.spec)),
        power: Some(power_to_wire(vm.power)),
        revision: vm.revision().0,
        status: vm.status().to_string(),
        trouble: vm
            .trouble
            .as_ref()
            .map(|trouble| trouble.reason.clone())
            .unwrap_or_default(),
        created_us: vm.created.0,
        ..v1::Vm::default()
    };
    if let Some(placement) = vm.placement {
        wire.host_id = placement.host.to_string();
        wire.host = host.map(ToString::to_string).unwrap_or_default();
        wire.epoch = placement.epoch.0.0;
    }
    match &vm.phase {
        Phase::Created => {}
        Phase::Running {
            hypervisor,
            pid,
            since,
            ready,
            paused,
        } => {
            wire.hypervisor = hypervisor.to_string();
            wire.pid = *pid;
            wire.paused = *paused;
            wire.running_since_us = since.0;
            wire.ready_since_us = ready.map_or(0, |ready| ready.0);
        }
        Phase::Stopped { reason, .. } => wire.exit = reason.to_string(),
    }
    wire
}
