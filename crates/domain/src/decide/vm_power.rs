//! Start, stop, kill and delete: what a VM that is there should do from now on.

use super::{Finding, expects};
use crate::command::{Submission, VmRef};
use crate::event::{Event, Resource};
use crate::projection::Projection;
use crate::rejection::{Rejection, RejectionCode};
use crate::spec::StopTimeout;
use crate::vm::{Power, StopHow, Vm};

pub(super) fn start(state: &Projection, submission: &Submission, vm: &VmRef) -> Result<Finding, Rejection> {
    let vm = find(state, submission, vm)?;
    match vm.power {
        Power::Deleted => Err(being_deleted(vm)),
        Power::Running => Ok(already(vm)),
        Power::Stopped(_) => Ok(Finding::Events(vec![Event::VmStartRequested { vm: vm.id }])),
    }
}

pub(super) fn stop(
    state: &Projection,
    submission: &Submission,
    vm: &VmRef,
    timeout: Option<StopTimeout>,
) -> Result<Finding, Rejection> {
    let vm = find(state, submission, vm)?;
    let how = StopHow::Graceful(timeout.unwrap_or(vm.spec.stop_timeout));
    match vm.power {
        Power::Deleted => Err(being_deleted(vm)),
        Power::Stopped(_) => Ok(already(vm)),
        Power::Running => Ok(Finding::Events(vec![Event::VmStopRequested { vm: vm.id, how }])),
    }
}

pub(super) fn kill(state: &Projection, submission: &Submission, vm: &VmRef) -> Result<Finding, Rejection> {
    let vm = find(state, submission, vm)?;
    match vm.power {
        Power::Deleted => Err(being_deleted(vm)),
        Power::Stopped(StopHow::Hard) => Ok(already(vm)),
        // Also where it does not seem to run: the word that it started may still be on its way.
        Power::Stopped(StopHow::Graceful(_)) | Power::Running => {
            Ok(Finding::Events(vec![Event::VmStopRequested {
                vm: vm.id,
                how: StopHow::Hard,
            }]))
        }
    }
}

pub(super) fn delete(
    state: &Projection,
    submission: &Submission,
    vm: &VmRef,
    force: bool,
) -> Result<Finding, Rejection> {
    let vm = find(state, submission, vm)?;
    match vm.power {
        Power::Deleted => Ok(already(vm)),
        Power::Running if !force => {
            let message = format!(
                "VM {}/{} is meant to run; stop it first, or delete it with --force",
                vm.project, vm.name
            );
            Err(Rejection::new(RejectionCode::State, message))
        }
        Power::Running | Power::Stopped(_) => {
            Ok(Finding::Events(vec![Event::VmDeleteRequested { vm: vm.id }]))
        }
    }
}

fn find<'a>(state: &'a Projection, submission: &Submission, vm: &VmRef) -> Result<&'a Vm, Rejection> {
    let Some(found) = state.resolve(vm) else {
        let message = format!("there is no VM {vm}; `chv vm list` shows those that are");
        return Err(Rejection::new(RejectionCode::NotFound, message));
    };
    expects(submission, &format!("VM {vm}"), found.revision())?;
    Ok(found)
}

fn already(vm: &Vm) -> Finding {
    Finding::Already(Resource::Vm(vm.id), vm.revision())
}

fn being_deleted(vm: &Vm) -> Rejection {
    let message = format!("VM {}/{} is being deleted", vm.project, vm.name);
    Rejection::new(RejectionCode::State, message)
}
