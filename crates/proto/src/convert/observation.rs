//! What a host measured of a VM, in reports and in the events that they become.

use chv_domain::spec::FieldPath;
use chv_domain::{Aftermath, ExitReason, NoMore, Observation, Run, Seq};

use super::error::{WireError, parse};
use crate::v1;
use crate::v1::exit_reason::Kind;
use crate::v1::report_vm::{self, Observation as Wire};

pub(super) fn observation_to_wire(observation: &Observation) -> Wire {
    match observation {
        Observation::Started {
            hypervisor,
            pid,
            took_us,
        } => Wire::Started(report_vm::Started {
            hypervisor: hypervisor.to_string(),
            pid: *pid,
            took_us: *took_us,
        }),
        Observation::Ready => Wire::Ready(report_vm::Ready {}),
        Observation::Adopted {
            hypervisor,
            pid,
            uptime_ms,
            paused,
        } => Wire::Adopted(report_vm::Adopted {
            hypervisor: hypervisor.to_string(),
            pid: *pid,
            uptime_ms: *uptime_ms,
            paused: *paused,
        }),
        Observation::Exited(reason, console, run) => Wire::Exited(report_vm::Exited {
            reason: Some(exit_to_wire(reason)),
            console: console.clone(),
            order: run.order.0,
            ran_ms: run.ran_ms,
            restarts: run.restarts,
        }),
        Observation::Blocked(reason) => Wire::Blocked(report_vm::Blocked {
            reason: reason.clone(),
        }),
        Observation::Unblocked => Wire::Unblocked(report_vm::Unblocked {}),
        Observation::Removed => Wire::Removed(report_vm::Removed {}),
        Observation::Paused => Wire::Paused(report_vm::Paused {}),
        Observation::Resumed => Wire::Resumed(report_vm::Resumed {}),
        Observation::Rebooted { order } => Wire::Rebooted(report_vm::Rebooted {
            order: order.unwrap_or_default().0,
        }),
        Observation::Applied { restart_needed } => Wire::Applied(report_vm::Applied {
            restart_needed: fields_to_wire(restart_needed),
        }),
    }
}

pub(super) fn fields_to_wire(fields: &[FieldPath]) -> Vec<String> {
    fields.iter().map(ToString::to_string).collect()
}

/// Fields of a spec, as they were sent. The field is `restart_needed` wherever it stands.
pub fn fields_from_wire(fields: Vec<String>) -> Result<Vec<FieldPath>, WireError> {
    let read = |field: String| {
        FieldPath::try_from(field).map_err(|error| WireError::new("restart_needed", error.to_string()))
    };
    fields.into_iter().map(read).collect()
}

pub(super) fn observation_from_wire(observation: Wire) -> Result<Observation, WireError> {
    Ok(match observation {
        Wire::Started(started) => Observation::Started {
            hypervisor: parse("started.hypervisor", &started.hypervisor)?,
            pid: started.pid,
            took_us: started.took_us,
        },
        Wire::Ready(report_vm::Ready {}) => Observation::Ready,
        Wire::Adopted(adopted) => Observation::Adopted {
            hypervisor: parse("adopted.hypervisor", &adopted.hypervisor)?,
            pid: adopted.pid,
            uptime_ms: adopted.uptime_ms,
            paused: adopted.paused,
        },
        Wire::Exited(exited) => {
            let reason = exit_from_wire(exited.reason).map_err(|error| error.within("exited"))?;
            let run = Run {
                order: Seq(exited.order),
                ran_ms: exited.ran_ms,
                restarts: exited.restarts,
            };
            Observation::Exited(reason, exited.console, run)
        }
        Wire::Blocked(blocked) => Observation::Blocked(blocked.reason),
        Wire::Unblocked(report_vm::Unblocked {}) => Observation::Unblocked,
        Wire::Removed(report_vm::Removed {}) => Observation::Removed,
        Wire::Paused(report_vm::Paused {}) => Observation::Paused,
        Wire::Resumed(report_vm::Resumed {}) => Observation::Resumed,
        Wire::Rebooted(report_vm::Rebooted { order }) => Observation::Rebooted {
            order: (order != 0).then_some(Seq(order)),
        },
        Wire::Applied(report_vm::Applied { restart_needed }) => Observation::Applied {
            restart_needed: fields_from_wire(restart_needed).map_err(|error| error.within("applied"))?,
        },
    })
}

pub(super) fn exit_to_wire(reason: &ExitReason) -> v1::ExitReason {
    let (kind, detail) = match reason {
        ExitReason::PoweredOff => (Kind::PoweredOff, ""),
        ExitReason::Killed => (Kind::Killed, ""),
        ExitReason::StopTimedOut => (Kind::StopTimedOut, ""),
        ExitReason::Crashed(detail) => (Kind::Crashed, detail.as_str()),
        ExitReason::Vanished => (Kind::Vanished, ""),
        ExitReason::LeaseEnded => (Kind::LeaseEnded, ""),
        ExitReason::PoweredOffItself => (Kind::PoweredOffItself, ""),
        ExitReason::Panicked(detail) => (Kind::Panicked, detail.as_str()),
        ExitReason::OutOfMemory => (Kind::OutOfMemory, ""),
    };
    v1::ExitReason {
        kind: kind.into(),
        detail: detail.to_owned(),
    }
}

/// The field is `reason` wherever it stands.
pub(super) fn exit_from_wire(reason: Option<v1::ExitReason>) -> Result<ExitReason, WireError> {
    let reason = reason.ok_or_else(|| WireError::missing("reason"))?;
    Ok(match reason.kind() {
        Kind::PoweredOff => ExitReason::PoweredOff,
        Kind::Killed => ExitReason::Killed,
        Kind::StopTimedOut => ExitReason::StopTimedOut,
        Kind::Crashed => ExitReason::Crashed(reason.detail),
        Kind::Vanished => ExitReason::Vanished,
        Kind::LeaseEnded => ExitReason::LeaseEnded,
        Kind::PoweredOffItself => ExitReason::PoweredOffItself,
        Kind::Panicked => ExitReason::Panicked(reason.detail),
        Kind::OutOfMemory => ExitReason::OutOfMemory,
        Kind::Unspecified => {
            let problem = format!("{} is not a way to end; see the enum's values", reason.kind);
            return Err(WireError::new("reason.kind", problem));
        }
    })
}

/// What becomes of it, as it is sent; nothing where that is as was ordered.
pub(super) fn aftermath_to_wire(then: Aftermath) -> Option<v1::Aftermath> {
    use v1::aftermath::{Again, Stays, Then, Why};
    let stays = |why: Why, restarts| {
        Then::Stays(Stays {
            why: why.into(),
            restarts,
        })
    };
    let then = match then {
        Aftermath::AsOrdered => return None,
        Aftermath::Again(restarts) => Then::Again(Again { restarts }),
        Aftermath::Stays(NoMore::Never) => stays(Why::Never, 0),
        Aftermath::Stays(NoMore::NoFailure) => stays(Why::NoFailure, 0),
        Aftermath::Stays(NoMore::Limit(limit)) => stays(Why::Limit, limit),
    };
    Some(v1::Aftermath { then: Some(then) })
}

/// The field is `then`.
pub(super) fn aftermath_from_wire(then: Option<v1::Aftermath>) -> Result<Aftermath, WireError> {
    use v1::aftermath::{Then, Why};
    let Some(then) = then else {
        return Ok(Aftermath::AsOrdered);
    };
    match then.then.ok_or_else(|| WireError::missing("then.then"))? {
        Then::Again(again) => Ok(Aftermath::Again(again.restarts)),
        Then::Stays(stays) => match stays.why() {
            Why::Never => Ok(Aftermath::Stays(NoMore::Never)),
            Why::NoFailure => Ok(Aftermath::Stays(NoMore::NoFailure)),
            Why::Limit => Ok(Aftermath::Stays(NoMore::Limit(stays.restarts))),
            Why::Unspecified => {
                let problem = format!("{} is no reason; see the enum's values", stays.why);
                Err(WireError::new("then.stays.why", problem))
            }
        },
    }
}
