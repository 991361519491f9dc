//! The difference between what a VM should be and what it is here, as the one next step toward it.
//!
//! Pure: what it knows was handed to it, and it does nothing. Whoever executes the step observes again and
//! asks again, so a step that fails or is overtaken by a newer wish needs no rule of its own.

mod boots;
mod change;
mod ending;
mod observed;
mod pace;
mod restarting;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use chv_domain::spec::{FieldPath, OnHostLoss};
use chv_domain::{DesiredVm, Epoch, ExitReason, Power, Reboot, Run, Seq, StopHow, Timestamp, VmSpec};

pub use boots::{Begun, BootId, Boots, Doubt};
pub(crate) use change::QEMU_FREE_PORTS;
pub use change::{Begun as BegunChange, Change, Next, Runs};
pub use ending::{Ended, reason};
pub use observed::{Guest, Health, LastEnd, Observed, Ran, Stop};
pub use pace::Pace;
pub use restarting::{Restarting, restarting};

/// Between two presses of the power button: a guest that is still booting does not hear the first.
pub const PRESS_EVERY: Duration = Duration::from_secs(2);

/// What the log wants of one VM on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Not heard yet. What runs goes on; nothing is started or stopped.
    Unheard,
    /// It is not this host's, or not any more, as of this event. Says nothing of a newer grant.
    NotOurs(Seq),
    /// This.
    Vm(Arc<DesiredVm>),
}

impl Wanted {
    /// The desired VM, unless its grant is older than one that this host has seen.
    fn granted(&self, highest: Option<Epoch>) -> Option<&DesiredVm> {
        match self {
            Self::Vm(vm) if highest.is_none_or(|seen| seen <= vm.epoch) => Some(vm),
            Self::Vm(_) | Self::Unheard | Self::NotOurs(_) => None,
        }
    }

    /// Whether it is not this host's, as of no earlier than the newest grant that this host has seen.
    fn disowned(&self, highest: Option<Epoch>) -> bool {
        matches!(self, Self::NotOurs(at) if highest.is_none_or(|seen| seen.0 <= *at))
    }

    /// The event that made it so.
    pub fn revision(&self) -> Option<Seq> {
        match self {
            Self::Vm(vm) => Some(vm.revision),
            Self::Unheard | Self::NotOurs(_) => None,
        }
    }

    /// The event that last changed what it is; 0 when none has.
    pub fn changed(&self) -> Seq {
        match self {
            Self::Vm(vm) => vm.changed,
            Self::Unheard | Self::NotOurs(_) => Seq::ZERO,
        }
    }

    /// Whether it should run.
    pub fn runs(&self) -> bool {
        matches!(self, Self::Vm(vm) if vm.power.runs())
    }

    /// The order to boot anew that is to be carried out, if one is.
    pub fn reboot(&self) -> Option<Reboot> {
        match self {
            Self::Vm(vm) => match vm.power {
                Power::Rebooting(reboot) => Some(reboot),
                _ => None,
            },
            Self::Unheard | Self::NotOurs(_) => None,
        }
    }
}

/// One effect. Doing it twice does no harm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Look again whether there is a process.
    Find,
    /// Look after a process that was found running.
    Adopt,
    /// Report that it was found running, under this grant.
    TellAdopted(Epoch),
    /// Report how it ended, under the grant that it ran with, after this run.
    TellExited(Epoch, ExitReason, Run),
    /// Report that this holds it up.
    TellBlocked(Epoch, String),
    /// Report that nothing stands in the way any more.
    TellUnblocked(Epoch),
    /// Report that nothing of it is left.
    TellRemoved(Epoch),
    /// Resolve its files and start it.
    Launch,
    /// Report that its vCPUs are held, or run again.
    TellPaused(Epoch, bool),
    /// Report that it has booted after this order.
    TellRebooted(Epoch, Seq),
    /// Make this of it while it runs, by which it becomes that.
    Change(Change, Arc<VmSpec>),
    /// Report that it is what it should be, but for these fields, which need a new start.
    TellApplied(Epoch, Vec<FieldPath>),
    /// Hold it.
    Pause,
    /// Let it run on.
    Resume,
    /// Press its reset button, for this order.
    Reset(Seq),
    /// Note that it has booted after this order.
    Booted(Seq),
    /// Ask the guest to power off, for this order.
    PressPowerButton(Seq),
    /// End its process; this is why.
    Kill(ExitReason),
    /// Remove what this host made for it.
    Remove,
    /// Stop looking after it: there is nothing left to look after.
    Forget,
    /// Nothing to do until then, or until something changes.
    Wait(Option<Timestamp>),
}

/// The next step toward `wanted`.
pub fn next(wanted: &Wanted, observed: &Observed, now: Timestamp) -> Step {
    let granted = wanted.granted(observed.epoch);
    match &observed.guest {
        Guest::Unclear => return paced(Step::Find, observed, now),
        Guest::Found { .. } => return Step::Adopt,
        // Whatever is wanted: it may be another host's.
        Guest::Running {
            health: Health::Unleased,
            ..
        } => return paced(Step::Kill(ExitReason::LeaseEnded), observed, now),
        Guest::Ended { epoch, reason, run } => {
            return match epoch.or(observed.epoch).or(granted.map(|vm| vm.epoch)) {
                Some(epoch) => Step::TellExited(epoch, reason.clone(), *run),
                None if wanted.disowned(observed.epoch) => discard(observed, now),
                None => Step::Wait(None),
            };
        }
        Guest::Running {
            told: false, epoch, ..
        } => {
            if let Some(epoch) = epoch.or(granted.map(|vm| vm.epoch)) {
                return Step::TellAdopted(epoch);
            }
        }
        Guest::Running { told: true, .. } | Guest::Absent => {}
    }
    match (wanted, granted) {
        (Wanted::NotOurs(_), _) if wanted.disowned(observed.epoch) => discard(observed, now),
        (_, None) => Step::Wait(None),
        (_, Some(vm)) => toward(vm, observed, now),
    }
}

fn toward(vm: &DesiredVm, observed: &Observed, now: Timestamp) -> Step {
    if let Guest::Running { epoch: Some(ran), .. } = observed.guest
        && ran < vm.epoch
    {
        // It was elsewhere in between: what runs here is of the past.
        return paced(Step::Kill(ExitReason::Killed), observed, now);
    }
    if let Guest::Running { health, ran, .. } = &observed.guest
        && let Some(held) = health.held()
        && held != ran.told_paused
    {
        return Step::TellPaused(vm.epoch, held);
    }
    if observed.guest == Guest::Absent && observed.told_changed < vm.changed && vm.power != Power::Deleted {
        return Step::TellApplied(vm.epoch, Vec::new());
    }
    match (vm.power, &observed.guest) {
        (
            Power::Running | Power::Rebooting(_) | Power::Paused,
            Guest::Running {
                health: Health::Broken(how),
                ..
            },
        ) => paced(Step::Kill(ExitReason::Crashed(how.clone())), observed, now),
        (
            Power::Running | Power::Rebooting(_) | Power::Paused,
            Guest::Running {
                health: Health::Stalled(why) | Health::Mute(why),
                ..
            },
        ) if observed.blocked.as_ref() != Some(why) => Step::TellBlocked(vm.epoch, why.clone()),
        (
            Power::Paused,
            Guest::Running {
                health: Health::Sound,
                ..
            },
        ) => paced(Step::Pause, observed, now),
        // Also where it should power off: what is held hears no button.
        (
            Power::Running | Power::Rebooting(_) | Power::Stopped(StopHow::Graceful(_)),
            Guest::Running {
                health: Health::Paused,
                ..
            },
        ) => paced(Step::Resume, observed, now),
        (
            Power::Running,
            Guest::Running {
                health: Health::Sound,
                ran: Ran { runs, .. },
                ..
            },
        ) if observed.told_changed < vm.changed => match runs.as_ref().map(|runs| runs.next(&vm.spec)) {
            Some(Next::Make(change, is)) => paced(Step::Change(change, is), observed, now),
            Some(Next::Nothing(restart_needed)) => Step::TellApplied(vm.epoch, restart_needed),
            // Nothing here says what it was started as.
            None => Step::TellApplied(vm.epoch, vec![FieldPath::whole()]),
        },
        (
            Power::Running,
            Guest::Running {
                health: Health::Sound,
                ..
            },
        )
        | (
            Power::Paused,
            Guest::Running {
                health: Health::Paused,
                ..
            },
        ) if observed.blocked.is_some() => Step::TellUnblocked(vm.epoch),
        (Power::Rebooting(reboot), Guest::Running { stop, ran, .. }) => {
            boot_anew(reboot, *stop, ran, vm, observed, now)
        }
        (Power::Running | Power::Paused, Guest::Running { .. }) => Step::Wait(None),
        // Whoever waits for the lease is told when it is there.
        (Power::Running | Power::Rebooting(_), _)
            if vm.spec.on_host_loss == OnHostLoss::Failover && !observed.leased =>
        {
            Step::Wait(None)
        }
        (Power::Running, _) => match restarting(vm, observed, now) {
            Restarting::Now(_) => paced(Step::Launch, observed, now),
            Restarting::At(at) => Step::Wait(Some(at)),
            // The leader comes to the same, and then it should be stopped.
            Restarting::Not => Step::Wait(None),
        },
        (Power::Rebooting(_), _) => paced(Step::Launch, observed, now),
        (Power::Stopped(StopHow::Graceful(timeout)), Guest::Running { stop, .. }) => {
            let late = Step::Kill(ExitReason::StopTimedOut);
            graceful(vm.revision, *stop, timeout.duration(), late, observed, now)
        }
        (Power::Stopped(StopHow::Hard) | Power::Deleted, Guest::Running { .. }) => {
            paced(Step::Kill(ExitReason::Killed), observed, now)
        }
        (Power::Stopped(_) | Power::Paused, _) if observed.blocked.is_some() => Step::TellUnblocked(vm.epoch),
        (Power::Stopped(_) | Power::Paused, _) => Step::Wait(None),
        (Power::Deleted, _) if observed.leftovers => paced(Step::Remove, observed, now),
        (Power::Deleted, _) if !observed.removed_told => Step::TellRemoved(vm.epoch),
        (Power::Deleted, _) => Step::Wait(None),
    }
}

/// Toward a boot after an order, of a guest that runs. One that powers off for it is started again.
fn boot_anew(
    Reboot { order, how }: Reboot,
    stop: Option<Stop>,
    ran: &Ran,
    vm: &DesiredVm,
    observed: &Observed,
    now: Timestamp,
) -> Step {
    if ran.boots.after >= order {
        return match ran.told_boot >= order {
            true => Step::Wait(None),
            false => Step::TellRebooted(vm.epoch, order),
        };
    }
    if let Some(begun) = ran.boots.begun.as_ref().filter(|begun| begun.order == order) {
        return match begun.doubt(ran.says.as_ref(), ran.found, now) {
            Doubt::Done => Step::Booted(order),
            Doubt::Open => paced(Step::Reset(order), observed, now),
            Doubt::Until(at) => Step::Wait(Some(at)),
        };
    }
    match how {
        StopHow::Hard => paced(Step::Reset(order), observed, now),
        StopHow::Graceful(timeout) => {
            // Reset in place, it would go on as it was.
            let changed = ran.runs.as_ref().is_some_and(|runs| runs.is != vm.spec);
            let late = match changed {
                true => Step::Kill(ExitReason::StopTimedOut),
                false => Step::Reset(order),
            };
            graceful(order, stop, timeout.duration(), late, observed, now)
        }
    }
}

/// Asks the guest to power off for `order`, and does `late` when it has not after `timeout`.
fn graceful(
    order: Seq,
    stop: Option<Stop>,
    timeout: Duration,
    late: Step,
    observed: &Observed,
    now: Timestamp,
) -> Step {
    let Some(stop) = stop.filter(|stop| stop.revision == order) else {
        return Step::PressPowerButton(order);
    };
    // A clock that was set back must not make the wait longer.
    let deadline = stop.since.min(now).plus(timeout);
    let press = stop.pressed.min(now).plus(PRESS_EVERY);
    match () {
        () if deadline <= now => paced(late, observed, now),
        () if press <= now => Step::PressPowerButton(order),
        () => Step::Wait(Some(press.min(deadline))),
    }
}

/// What is not ours is ended and cleared away.
fn discard(observed: &Observed, now: Timestamp) -> Step {
    match observed.guest {
        Guest::Running { .. } => paced(Step::Kill(ExitReason::Killed), observed, now),
        _ if observed.leftovers => paced(Step::Remove, observed, now),
        _ => Step::Forget,
    }
}

/// A step that failed is not tried again before its time.
fn paced(step: Step, observed: &Observed, now: Timestamp) -> Step {
    match observed.pace.not_before() {
        Some(at) if now < at => Step::Wait(Some(at)),
        Some(_) | None => step,
    }
}
