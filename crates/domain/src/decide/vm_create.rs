//! Creating a VM: its name must be free, and a host must be able to take it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Context, Finding, vm_about};
use crate::command::Submission;
use crate::event::Event;
use crate::host::HypervisorKind;
use crate::ids::VmId;
use crate::name::{ProjectName, VmName};
use crate::placement::place;
use crate::projection::Projection;
use crate::rejection::{Rejection, RejectionCode};
use crate::seq::Seq;
use crate::spec::{Part, VmSpec};
use crate::texts::{ANNOTATIONS, LABELS};
use crate::vm::{Power, StopHow};

pub(super) struct Wanted<'a> {
    pub(super) project: &'a ProjectName,
    pub(super) name: &'a VmName,
    pub(super) labels: &'a BTreeMap<String, String>,
    pub(super) annotations: &'a BTreeMap<String, String>,
    pub(super) protected: bool,
    pub(super) spec: &'a Arc<VmSpec>,
    pub(super) start: bool,
}

pub(super) fn create(
    state: &Projection,
    submission: &Submission,
    context: Context<'_>,
    wanted: Wanted<'_>,
) -> Result<Finding, Rejection> {
    let Wanted {
        project,
        name,
        labels,
        annotations,
        protected,
        spec,
        start,
    } = wanted;
    if let Some(expected) = submission.expected.filter(|expected| *expected != Seq::ZERO) {
        let message =
            format!("a VM to be created has no revision, but {expected} is expected; expect 0 or none");
        return Err(Rejection::new(RejectionCode::Conflict, message));
    }
    vm_about::within(LABELS.broken_by(labels))?;
    vm_about::within(ANNOTATIONS.broken_by(annotations))?;
    if let Some(there) = state.vm_named(project, name) {
        let message = format!(
            "a VM named {name} exists in project {project} ({}); choose another name, or delete it first",
            there.id
        );
        return Err(Rejection::new(RejectionCode::Exists, message));
    }
    let vm = VmId::created_by(submission.id);
    if state.vm(vm).is_some() {
        let message = format!("the id {vm} is a VM's already; send the command with a new id");
        return Err(Rejection::new(RejectionCode::Exists, message));
    }
    can_be(spec)?;
    let placed = place(state, spec, context.alive)?;
    let power = if start {
        Power::Running
    } else {
        Power::Stopped(StopHow::Graceful(spec.stop_timeout))
    };
    let annotated = (!annotations.is_empty()).then(|| Event::VmAnnotationsChanged {
        vm,
        annotations: annotations.clone(),
    });
    let protected = protected.then_some(Event::VmProtectionChanged { vm, protected });
    let created = [
        Event::VmCreated {
            vm,
            project: project.clone(),
            name: name.clone(),
            labels: labels.clone(),
            spec: Arc::clone(spec),
            power,
        },
        Event::VmPlaced { vm, placed },
    ];
    Ok(Finding::Events(
        created.into_iter().chain(annotated).chain(protected).collect(),
    ))
}

/// Whether such a VM can be at all, whatever hosts there are: its fields go together, and a hypervisor can do all of it.
pub(super) fn can_be(spec: &VmSpec) -> Result<(), Rejection> {
    let invalid = |message: String| Rejection::new(RejectionCode::Invalid, message);
    if let Some(fault) = spec.fault() {
        return Err(invalid(format!("spec.{fault}")));
    }
    let kinds = spec
        .hypervisor
        .as_ref()
        .map_or(&HypervisorKind::ALL[..], std::slice::from_ref);
    let mut lacks = Vec::new();
    for kind in kinds {
        match spec.lacks(*kind) {
            None => return Ok(()),
            Some(lack) => lacks.push(format!("{kind} can't: spec.{lack}")),
        }
    }
    Err(invalid(format!(
        "no hypervisor can do what the spec asks for: {}; take one of these fields out",
        lacks.join("; ")
    )))
}
