//! What is said of a VM that is there: its name, labels and annotations, and whether it can be deleted. None of it touches
//! its guest, and none changes its revision.

use super::Finding;
use super::vm_power::{already, find};
use crate::command::{Submission, VmRef};
use crate::event::Event;
use crate::life::State;
use crate::name::VmName;
use crate::projection::Projection;
use crate::rejection::{Rejection, RejectionCode};
use crate::texts::{ANNOTATIONS, LABELS, TextsChange};
use crate::vm::Vm;

pub(super) fn rename(
    state: &Projection,
    submission: &Submission,
    vm: &VmRef,
    name: &VmName,
) -> Result<Finding, Rejection> {
    let vm = there(state, submission, vm)?;
    if vm.name == *name {
        return Ok(already(vm));
    }
    if let Some(taken) = state.vm_named(&vm.project, name) {
        let message = format!(
            "a VM named {name} exists in project {} ({}); choose another name, or rename that one first",
            vm.project, taken.id
        );
        return Err(Rejection::new(RejectionCode::Exists, message));
    }
    let (vm, name) = (vm.id, name.clone());
    Ok(Finding::Events(vec![Event::VmRenamed { vm, name }]))
}

pub(super) fn label(
    state: &Projection,
    submission: &Submission,
    vm: &VmRef,
    change: &TextsChange,
) -> Result<Finding, Rejection> {
    let vm = there(state, submission, vm)?;
    let labels = change.of(&vm.labels);
    if labels == vm.labels {
        return Ok(already(vm));
    }
    within(LABELS.broken_by(&labels))?;
    Ok(Finding::Events(vec![Event::VmLabelsChanged {
        vm: vm.id,
        labels,
    }]))
}

pub(super) fn annotate(
    state: &Projection,
    submission: &Submission,
    vm: &VmRef,
    change: &TextsChange,
) -> Result<Finding, Rejection> {
    let vm = there(state, submission, vm)?;
    let before = vm.aside().annotations;
    let annotations = change.of(&before);
    if annotations == before {
        return Ok(already(vm));
    }
    within(ANNOTATIONS.broken_by(&annotations))?;
    let vm = vm.id;
    Ok(Finding::Events(vec![Event::VmAnnotationsChanged {
        vm,
        annotations,
    }]))
}

pub(super) fn protect(
    state: &Projection,
    submission: &Submission,
    vm: &VmRef,
    protected: bool,
) -> Result<Finding, Rejection> {
    let vm = there(state, submission, vm)?;
    if vm.is_protected() == protected {
        return Ok(already(vm));
    }
    let vm = vm.id;
    Ok(Finding::Events(vec![Event::VmProtectionChanged {
        vm,
        protected,
    }]))
}

/// Refuses to delete what is protected.
pub(super) fn deletable(vm: &Vm) -> Result<(), Rejection> {
    if !vm.is_protected() {
        return Ok(());
    }
    let message = format!(
        "VM {}/{} is protected from being deleted; `chv vm unprotect {}` lifts that",
        vm.project, vm.name, vm.name
    );
    Err(Rejection::new(RejectionCode::State, message))
}

pub(super) fn within(broken: Option<String>) -> Result<(), Rejection> {
    match broken {
        Some(message) => Err(Rejection::new(RejectionCode::Invalid, message)),
        None => Ok(()),
    }
}

/// A VM that is not being deleted.
pub(super) fn there<'a>(
    state: &'a Projection,
    submission: &Submission,
    vm: &VmRef,
) -> Result<&'a Vm, Rejection> {
    let vm = find(state, submission, vm)?;
    let why = match vm.state() {
        State::Deleting => "is being deleted",
        State::Deleted => "is deleted; undelete it first",
        _ => return Ok(vm),
    };
    let message = format!("VM {}/{} {why}", vm.project, vm.name);
    Err(Rejection::new(RejectionCode::State, message))
}
