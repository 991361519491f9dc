//! Reports are claims: a host is heard only about VMs placed on it, only under its current grant, and
//! only what differs from what is known becomes an event.

use super::{Finding, not_permitted};
use crate::command::{Observation, Submission};
use crate::event::{Event, ExitReason, Resource};
use crate::ids::VmId;
use crate::name::HostName;
use crate::projection::Projection;
use crate::rejection::{Rejection, RejectionCode};
use crate::restart::{Aftermath, Run};
use crate::seq::{Epoch, Seq};
use crate::spec::FieldPath;
use crate::vm::{Phase, Power, Vm};

/// The longest reason that is taken from a host, in bytes; what is longer is cut.
const MAX_REASON: usize = 2048;

/// The most fields that are told of; a spec has fewer, but for devices.
const MAX_FIELDS: usize = 64;

pub(super) fn report(
    state: &Projection,
    submission: &Submission,
    name: &HostName,
    (id, epoch): (VmId, Epoch),
    observation: &Observation,
) -> Result<Finding, Rejection> {
    let Some(host) = state.host_named(name) else {
        let message = format!("host {name} is not registered");
        return Err(Rejection::new(RejectionCode::NotFound, message));
    };
    let Some(vm) = state.vm(id) else {
        return Err(Rejection::new(
            RejectionCode::NotFound,
            format!("there is no VM {id}"),
        ));
    };
    let Some(placement) = vm.placement.filter(|placement| placement.host == host.id) else {
        return Err(not_permitted(format!("VM {id} is not placed on host {name}")));
    };
    if placement.epoch != epoch {
        let message = format!(
            "VM {id} has epoch {} on host {name}, not {epoch}",
            placement.epoch
        );
        return Err(Rejection::new(RejectionCode::StaleEpoch, message));
    }
    let knew = submission.follows.unwrap_or_default();
    Ok(match event(vm, epoch, observation, knew)? {
        Some(event) => Finding::Events(vec![event]),
        None => Finding::Already(Resource::Vm(id), vm.revision()),
    })
}

fn event(vm: &Vm, epoch: Epoch, observation: &Observation, knew: Seq) -> Result<Option<Event>, Rejection> {
    let id = vm.id;
    Ok(match observation {
        Observation::Started {
            hypervisor,
            pid,
            took_us,
        } => match &vm.phase {
            Phase::Running { pid: known, .. } if known == pid => None,
            _ => Some(Event::VmStarted {
                vm: id,
                epoch,
                hypervisor: *hypervisor,
                pid: *pid,
                took_us: *took_us,
            }),
        },
        Observation::Adopted {
            hypervisor,
            pid,
            uptime_ms,
            paused,
        } => {
            let (hypervisor, pid, uptime_ms, paused) = (*hypervisor, *pid, *uptime_ms, *paused);
            Some(Event::VmAdopted {
                vm: id,
                epoch,
                hypervisor,
                pid,
                uptime_ms,
                paused,
            })
        }
        Observation::Ready => match &vm.phase {
            Phase::Running { ready: None, .. } => Some(Event::VmReady { vm: id, epoch }),
            _ => None,
        },
        Observation::Exited(reason, console, run) => {
            let then = aftermath(vm, reason, run);
            // That it ran may never have been told; that it doesn't any more is.
            let news = vm.is_running() || matches!(then, Aftermath::Stays(_));
            news.then(|| Event::VmExited {
                vm: id,
                epoch,
                reason: bounded(reason),
                console: cut(console),
                then,
            })
        }
        Observation::Blocked(reason) => {
            let reason = cut(reason);
            let known = vm
                .trouble
                .as_ref()
                .is_some_and(|trouble| trouble.reason == reason);
            (!known).then_some(Event::VmBlocked {
                vm: id,
                epoch,
                reason,
            })
        }
        Observation::Unblocked => vm
            .trouble
            .is_some()
            .then_some(Event::VmUnblocked { vm: id, epoch }),
        Observation::Paused => holds(vm, false).then_some(Event::VmPaused { vm: id, epoch }),
        Observation::Resumed => holds(vm, true).then_some(Event::VmResumed { vm: id, epoch }),
        Observation::Rebooted { order } => rebooted(vm, *order).then_some(Event::VmRebooted {
            vm: id,
            epoch,
            order: *order,
        }),
        Observation::Applied { restart_needed } => {
            applies(vm, restart_needed, knew).then(|| Event::VmSpecApplied {
                vm: id,
                epoch,
                restart_needed: restart_needed.iter().take(MAX_FIELDS).cloned().collect(),
            })
        }
        Observation::Removed if vm.power == Power::Deleted => Some(Event::VmDeleted { vm: id }),
        Observation::Removed => {
            let message = format!("VM {id} is not to be deleted, so its host may not remove it");
            return Err(Rejection::new(RejectionCode::State, message));
        }
    })
}

/// Whether it runs, and is known to be held or not to be.
fn holds(vm: &Vm, held: bool) -> bool {
    matches!(vm.phase, Phase::Running { paused, .. } if paused == held)
}

/// Whether how much of its last change the guest has is news, from a host that knew of the orders up to `knew`.
fn applies(vm: &Vm, restart_needed: &[FieldPath], knew: Seq) -> bool {
    vm.unapplied().is_some_and(|unapplied| {
        unapplied.order <= knew && unapplied.restart_needed.as_deref() != Some(restart_needed)
    })
}

/// Whether that it booted anew is news. That an order was carried out is, until it is known.
fn rebooted(vm: &Vm, order: Option<Seq>) -> bool {
    let open = match (vm.power, order) {
        (Power::Rebooting(reboot), Some(order)) => reboot.order == order,
        (_, order) => order.is_none(),
    };
    open && vm.is_running()
}

/// What becomes of it: by its restart policy, unless something else was ordered since.
fn aftermath(vm: &Vm, reason: &ExitReason, run: &Run) -> Aftermath {
    match vm.power {
        Power::Running if run.order == vm.order() => vm.spec.restart.after(reason, run),
        Power::Running => Aftermath::Again(0),
        Power::Rebooting(_) | Power::Paused | Power::Stopped(_) | Power::Deleted => Aftermath::AsOrdered,
    }
}

fn bounded(reason: &ExitReason) -> ExitReason {
    match reason {
        ExitReason::Crashed(detail) => ExitReason::Crashed(cut(detail)),
        ExitReason::Panicked(detail) => ExitReason::Panicked(cut(detail)),
        other => other.clone(),
    }
}

fn cut(reason: &str) -> String {
    let end = (0..=MAX_REASON.min(reason.len()))
        .rev()
        .find(|at| reason.is_char_boundary(*at));
    reason[..end.unwrap_or(0)].to_owned()
}
