//! Deleting a VM, for good or for a time, and taking that back. A deleted VM that can be undeleted keeps its place on its
//! host, with all that is there of it, and gives its name up (ADR 39).

use super::vm_power::{already, decide, find};
use super::{Context, Finding, vm_about};
use crate::command::{Submission, VmRef};
use crate::event::Event;
use crate::ids::VmId;
use crate::life::{Order, State};
use crate::name::VmName;
use crate::projection::Projection;
use crate::rejection::{Rejection, RejectionCode};
use crate::retention::KeepFor;
use crate::vm::{Power, StopHow};

/// How a VM is to be deleted.
pub(super) struct Asked {
    pub(super) force: bool,
    pub(super) keep: Option<KeepFor>,
}

pub(super) fn delete(
    state: &Projection,
    submission: &Submission,
    context: Context<'_>,
    vm: &VmRef,
    Asked { force, keep }: Asked,
) -> Result<Finding, Rejection> {
    let vm = find(state, submission, vm)?;
    if vm.power != Power::Deleted {
        vm_about::deletable(vm)?;
    }
    let Some(keep) = keep else {
        let order = if force {
            Order::ForceDeleteNow
        } else {
            Order::DeleteNow
        };
        return decide(vm, order, Event::VmDeleteRequested { vm: vm.id });
    };
    let order = if force { Order::ForceDelete } else { Order::Delete };
    let how = match vm.power {
        Power::Stopped(how) => how,
        _ => StopHow::Hard,
    };
    let until = context.now.max(state.time()).plus(keep.duration());
    decide(
        vm,
        order,
        Event::VmBinned {
            vm: vm.id,
            until,
            how,
        },
    )
}

pub(super) fn undelete(
    state: &Projection,
    submission: &Submission,
    vm: &VmRef,
    name: Option<&VmName>,
) -> Result<Finding, Rejection> {
    let vm = find(state, submission, vm)?;
    let name = name.unwrap_or(&vm.name);
    if vm.state() == State::Deleted
        && let Some(taken) = state.vm_named(&vm.project, name)
    {
        let message = format!(
            "a VM named {name} exists in project {} ({}); undelete it under another name, with --name",
            vm.project, taken.id
        );
        return Err(Rejection::new(RejectionCode::Exists, message));
    }
    let undeleted = Event::VmUndeleted {
        vm: vm.id,
        name: name.clone(),
    };
    decide(vm, Order::Undelete, undeleted)
}

/// That its time is over, as the leader sees it.
pub(super) fn purge(state: &Projection, context: Context<'_>, vm: VmId) -> Result<Finding, Rejection> {
    let Some(vm) = state.vm(vm) else {
        let message = format!("there is no VM {vm}");
        return Err(Rejection::new(RejectionCode::NotFound, message));
    };
    match vm.binned().filter(|_| vm.state() == State::Deleted) {
        Some(until) if until <= context.now => {
            decide(vm, Order::DeleteNow, Event::VmDeleteRequested { vm: vm.id })
        }
        // It was undeleted meanwhile, or is being removed.
        Some(_) | None => Ok(already(vm)),
    }
}
