//! Making something else of a VM. It stays on its host, which must be able to run it as it is to be.

use std::sync::Arc;

use super::Finding;
use super::vm_about::there;
use super::vm_create::can_be;
use super::vm_power::already;
use crate::command::{Submission, VmRef};
use crate::event::Event;
use crate::host::{Capacity, Host};
use crate::life::State;
use crate::projection::Projection;
use crate::rejection::{Rejection, RejectionCode};
use crate::spec::VmSpec;
use crate::units::format_mib;
use crate::vm::Vm;

pub(super) fn change(
    state: &Projection,
    submission: &Submission,
    vm: &VmRef,
    spec: &Arc<VmSpec>,
) -> Result<Finding, Rejection> {
    let vm = there(state, submission, vm)?;
    if vm.spec == *spec {
        return Ok(already(vm));
    }
    can_be(spec)?;
    // A guest that was started without its host's lease does not end with it, and must not be started elsewhere.
    if vm.spec.on_host_loss != spec.on_host_loss && vm.state() != State::Stopped {
        let message = format!(
            "spec.onHostLoss can't be changed while VM {}/{} is {}; stop it first",
            vm.project,
            vm.name,
            vm.state()
        );
        return Err(Rejection::new(RejectionCode::State, message));
    }
    let host = vm.placement.and_then(|placement| state.host(placement.host));
    if let Some(host) = host {
        fits(host, vm, spec)?;
    }
    Ok(Finding::Events(vec![Event::VmSpecChanged {
        vm: vm.id,
        spec: Arc::clone(spec),
    }]))
}

/// Whether `host` can run `vm` as it is to be, beside what else it runs.
fn fits(host: &Host, vm: &Vm, spec: &VmSpec) -> Result<(), Rejection> {
    let no_host = |why: String| {
        let message = format!(
            "its host {} can't run VM {}/{} as it is to be: {why}",
            host.name, vm.project, vm.name
        );
        Rejection::new(RejectionCode::NoHost, message)
    };
    host.facts.choose(spec).map_err(no_host)?;
    let (asked, has, free) = (Capacity::of(spec), vm.reserved(), host.free());
    let more = asked.minus(has);
    if more.vcpus > free.vcpus {
        return Err(no_host(format!(
            "{} vCPUs more asked, {} free",
            more.vcpus, free.vcpus
        )));
    }
    if more.memory_mib > free.memory_mib {
        return Err(no_host(format!(
            "{} of memory more asked, {} free",
            format_mib(more.memory_mib),
            format_mib(free.memory_mib)
        )));
    }
    Ok(())
}
