//! What a VM that is there should be from now on. Whether an order is taken is in the table of [`crate::life`].

use super::{Finding, expects};
use crate::command::{Submission, VmRef};
use crate::event::{Event, Resource};
use crate::life::{Order, Rule, ordered};
use crate::projection::Projection;
use crate::rejection::{Rejection, RejectionCode};
use crate::spec::StopTimeout;
use crate::vm::{Power, StopHow, Vm};

pub(super) fn start(state: &Projection, submission: &Submission, vm: &VmRef) -> Result<Finding, Rejection> {
    let vm = find(state, submission, vm)?;
    decide(vm, Order::Start, Event::VmStartRequested { vm: vm.id })
}

pub(super) fn pause(state: &Projection, submission: &Submission, vm: &VmRef) -> Result<Finding, Rejection> {
    let vm = find(state, submission, vm)?;
    decide(vm, Order::Pause, Event::VmPauseRequested { vm: vm.id })
}

pub(super) fn resume(state: &Projection, submission: &Submission, vm: &VmRef) -> Result<Finding, Rejection> {
    let vm = find(state, submission, vm)?;
    decide(vm, Order::Resume, Event::VmResumeRequested { vm: vm.id })
}

pub(super) fn reboot(
    state: &Projection,
    submission: &Submission,
    vm: &VmRef,
    timeout: Option<StopTimeout>,
) -> Result<Finding, Rejection> {
    let vm = find(state, submission, vm)?;
    let how = StopHow::Graceful(timeout.unwrap_or(vm.spec.stop_timeout));
    decide(vm, Order::Reboot, Event::VmRebootRequested { vm: vm.id, how })
}

pub(super) fn reset(state: &Projection, submission: &Submission, vm: &VmRef) -> Result<Finding, Rejection> {
    let vm = find(state, submission, vm)?;
    let how = StopHow::Hard;
    decide(vm, Order::Reset, Event::VmRebootRequested { vm: vm.id, how })
}

pub(super) fn stop(
    state: &Projection,
    submission: &Submission,
    vm: &VmRef,
    timeout: Option<StopTimeout>,
) -> Result<Finding, Rejection> {
    let vm = find(state, submission, vm)?;
    let how = StopHow::Graceful(timeout.unwrap_or(vm.spec.stop_timeout));
    decide(vm, Order::Stop, Event::VmStopRequested { vm: vm.id, how })
}

pub(super) fn kill(state: &Projection, submission: &Submission, vm: &VmRef) -> Result<Finding, Rejection> {
    let vm = find(state, submission, vm)?;
    let how = StopHow::Hard;
    decide(vm, Order::Kill, Event::VmStopRequested { vm: vm.id, how })
}

/// What the table says of `order`, which is the event `taken` where it is taken.
pub(super) fn decide(vm: &Vm, order: Order, taken: Event) -> Result<Finding, Rejection> {
    let state = vm.state();
    match ordered(state, order) {
        Rule::Leads(_) if !is_so(vm, &taken) => Ok(Finding::Events(vec![taken])),
        Rule::Leads(_) | Rule::Already => Ok(already(vm)),
        Rule::Refused(instead) => {
            let message = format!(
                "VM {}/{} is {state}, so it can't be told to {order}: {instead}",
                vm.project, vm.name
            );
            Err(Rejection::new(RejectionCode::State, message))
        }
    }
}

/// Whether a VM is being stopped or rebooted the hard way already, where `order` asks for that.
fn is_so(vm: &Vm, order: &Event) -> bool {
    match (order, vm.power) {
        (Event::VmStopRequested { how, .. }, Power::Stopped(known)) => {
            (*how, known) == (StopHow::Hard, StopHow::Hard)
        }
        (Event::VmRebootRequested { how, .. }, Power::Rebooting(known)) => {
            (*how, known.how) == (StopHow::Hard, StopHow::Hard)
        }
        _ => false,
    }
}

pub(super) fn find<'a>(
    state: &'a Projection,
    submission: &Submission,
    vm: &VmRef,
) -> Result<&'a Vm, Rejection> {
    let Some(found) = state.resolve(vm) else {
        let message = format!("there is no VM {vm}; `chv vm list` shows those that are");
        return Err(Rejection::new(RejectionCode::NotFound, message));
    };
    expects(submission, &format!("VM {vm}"), found.revision())?;
    Ok(found)
}

pub(super) fn already(vm: &Vm) -> Finding {
    Finding::Already(Resource::Vm(vm.id), vm.revision())
}
