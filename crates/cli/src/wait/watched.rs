//! What is known of a VM that is waited for, folded from its events, and whether that is what was wanted.
//! Pure: it is told the events, and says what to show.

use chv_domain::spec::FieldPath;
use chv_domain::{Actor, Aftermath, Event, ExitReason, Power, Reboot, Seq, StopHow};

use chv_proto::convert::{self, WireError};
use chv_proto::v1;

use super::Goal;

/// A VM on its way to a [`Goal`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Watched {
    /// What is waited for.
    pub goal: Goal,
    /// Everything up to this event is folded in.
    pub seen: Seq,
    /// What it should do.
    pub power: Power,
    /// Where it is; empty when it is nowhere.
    pub host: String,
    /// What runs it, when it runs.
    pub running: Option<String>,
    /// Whether the guest said that it is ready.
    pub ready: bool,
    /// Whether its processors are held.
    pub paused: bool,
    /// Whether its host has still to say how much of a change it has.
    pub changing: bool,
    /// The event that changed its spec last, or a later one.
    pub changed: Seq,
    /// What of its spec it has only after a new start.
    pub restart_needed: Vec<FieldPath>,
    /// What stands in the way.
    pub trouble: Option<String>,
    /// How it ended last.
    pub exit: Option<String>,
    /// Why it is not started again after that.
    pub stays: Option<String>,
    /// It is deleted, and can be undeleted.
    pub binned: bool,
    /// Nothing of it is left.
    pub gone: bool,
    /// Who last changed what it should do.
    pub by: Option<Actor>,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// On the way.
    Underway,
    /// There.
    Reached,
    /// It will not get there, and why.
    Lost(String),
}

impl Watched {
    /// From the VM as a replica knew it when it had applied everything up to `seen`.
    pub(crate) fn of(goal: Goal, seen: Seq, vm: &v1::Vm) -> Result<Self, WireError> {
        let some = |text: &String| (!text.is_empty()).then(|| text.clone());
        Ok(Self {
            goal,
            seen,
            power: convert::power_from_wire(vm.power.unwrap_or_default())?,
            host: vm.host.clone(),
            running: some(&vm.hypervisor),
            ready: vm.ready_since_us != 0,
            paused: vm.paused,
            changing: vm.changing,
            changed: Seq(vm.revision),
            restart_needed: convert::fields_from_wire(vm.restart_needed.clone())?,
            trouble: some(&vm.trouble),
            exit: some(&vm.exit),
            stays: some(&vm.stays),
            binned: vm.deleted_until_us != 0,
            gone: false,
            by: None,
        })
    }

    /// A VM that is not there any more.
    pub(crate) fn gone(goal: Goal, seen: Seq) -> Self {
        Self {
            goal,
            seen,
            power: Power::Deleted,
            host: String::new(),
            running: None,
            ready: false,
            paused: false,
            changing: false,
            changed: Seq::ZERO,
            restart_needed: Vec::new(),
            trouble: None,
            exit: None,
            stays: None,
            binned: false,
            gone: true,
            by: None,
        }
    }

    /// Folds an event of this VM in, which `follows` an earlier one; events that were folded in before change nothing.
    pub(crate) fn apply(&mut self, seq: Seq, actor: &Actor, follows: Option<Seq>, event: &Event) {
        if seq <= self.seen {
            return;
        }
        self.seen = seq;
        match event {
            Event::VmPlaced { placed, .. } => self.host = placed.name.to_string(),
            Event::VmStartRequested { .. } => self.ordered(Power::Running, actor),
            Event::VmStopRequested { how, .. } => self.ordered(Power::Stopped(*how), actor),
            Event::VmDeleteRequested { .. } => self.ordered(Power::Deleted, actor),
            Event::VmBinned { how, .. } => {
                self.ordered(Power::Stopped(*how), actor);
                self.binned = true;
            }
            Event::VmUndeleted { .. } => {
                self.ordered(Power::Stopped(StopHow::Hard), actor);
                self.binned = false;
            }
            Event::VmPauseRequested { .. } => self.ordered(Power::Paused, actor),
            Event::VmResumeRequested { .. } => self.ordered(Power::Running, actor),
            Event::VmRebootRequested { how, .. } => {
                let reboot = Reboot {
                    order: seq,
                    how: *how,
                };
                self.ordered(Power::Rebooting(reboot), actor);
            }
            Event::VmStarted { hypervisor, .. } => {
                self.running = Some(hypervisor.to_string());
                (self.ready, self.paused) = (false, false);
                self.trouble = None;
                self.begins_anew(follows);
                self.booted(follows);
            }
            Event::VmSpecChanged { .. } => {
                self.trouble = None;
                (self.changing, self.changed) = (true, seq);
            }
            Event::VmSpecApplied { restart_needed, .. } => {
                self.trouble = None;
                self.changing = false;
                self.restart_needed.clone_from(restart_needed);
            }
            Event::VmAdopted {
                hypervisor, paused, ..
            } => {
                self.running = Some(hypervisor.to_string());
                self.paused = *paused;
            }
            Event::VmPaused { .. } => self.paused = true,
            Event::VmResumed { .. } => self.paused = false,
            Event::VmRebooted { order, .. } => {
                (self.ready, self.paused) = (false, false);
                self.booted(*order);
            }
            Event::VmReady { .. } => self.ready = true,
            Event::VmExited { reason, then, .. } => self.exited(reason, *then, follows),
            Event::VmBlocked { reason, .. } => self.trouble = Some(reason.clone()),
            Event::VmUnblocked { .. } => self.trouble = None,
            Event::VmDeleted { .. } => self.gone = true,
            Event::ClusterFormed { .. }
            | Event::ReplicaAdded { .. }
            | Event::ReplicaJoined { .. }
            | Event::ReplicaRemoved { .. }
            | Event::ReplicaLeft { .. }
            | Event::StepDownRequested { .. }
            | Event::RetentionSet { .. }
            | Event::HistoryForgotten { .. }
            | Event::ReplicaIntroduced { .. }
            | Event::FormatRaised { .. }
            | Event::VmCreated { .. }
            | Event::VmRenamed { .. }
            | Event::VmLabelsChanged { .. }
            | Event::VmAnnotationsChanged { .. }
            | Event::VmProtectionChanged { .. }
            | Event::HostRegistered { .. }
            | Event::HostFactsChanged { .. }
            | Event::HostCordoned { .. }
            | Event::HostUncordoned { .. } => {}
        }
    }

    fn ordered(&mut self, power: Power, by: &Actor) {
        self.power = power;
        self.stays = None;
        self.by = Some(by.clone());
    }

    /// It was started, or has ended, on a host that knew of what came up to `follows`.
    fn begins_anew(&mut self, follows: Option<Seq>) {
        if follows >= Some(self.changed) {
            self.changing = false;
        }
        self.restart_needed.clear();
    }

    /// It has booted, after the order `after` and those before it.
    fn booted(&mut self, after: Option<Seq>) {
        if matches!(self.power, Power::Rebooting(reboot) if Some(reboot.order) <= after) {
            self.power = Power::Running;
        }
    }

    fn exited(&mut self, reason: &ExitReason, then: Aftermath, follows: Option<Seq>) {
        if let Aftermath::Stays(why) = then {
            self.stays = Some(why.to_string());
        }
        if self.power == Power::Paused || self.stays.is_some() {
            self.power = Power::Stopped(StopHow::Hard);
        }
        self.running = None;
        (self.ready, self.paused) = (false, false);
        self.begins_anew(follows);
        self.trouble = None;
        self.exit = Some(reason.to_string());
    }

    /// Whether it is what was wanted, may still become so, or will not.
    pub(crate) fn verdict(&self) -> Verdict {
        let by = self
            .by
            .as_ref()
            .map_or_else(String::new, |by| format!(", as {by} asked"));
        if self.gone {
            return match self.goal {
                Goal::Deleted => Verdict::Reached,
                _ => Verdict::Lost(format!("was deleted meanwhile{by}")),
            };
        }
        let reached = match (self.goal, self.power) {
            (Goal::Deleted, _) => false,
            (_, Power::Deleted) => return Verdict::Lost(format!("is being deleted{by}")),
            (Goal::Binned, _) if self.binned => self.running.is_none(),
            (Goal::Binned, _) => return Verdict::Lost(format!("was undeleted meanwhile{by}")),
            _ if self.binned => return Verdict::Lost(format!("is deleted{by}")),
            // What is held is changed when it runs on, and what is stopped when it is started.
            (Goal::Changed, Power::Paused) => true,
            (Goal::Changed, Power::Stopped(_)) if self.running.is_none() => true,
            (Goal::Changed, _) => !self.changing,
            (Goal::Paused, Power::Stopped(_)) if let Some(exit) = &self.exit => {
                return Verdict::Lost(format!("has ended ({exit}), and is stopped"));
            }
            (Goal::Running | Goal::Ready, Power::Stopped(_))
                if let (Some(exit), Some(why)) = (&self.exit, &self.stays) =>
            {
                return Verdict::Lost(format!("has ended ({exit}), and is not started again: {why}"));
            }
            (Goal::Running | Goal::Ready | Goal::Paused, Power::Stopped(_)) => {
                return Verdict::Lost(format!("is meant to be stopped{by}"));
            }
            (Goal::Running | Goal::Ready | Goal::Stopped, Power::Paused) => {
                return Verdict::Lost(format!("is meant to be paused{by}"));
            }
            (Goal::Stopped | Goal::Paused, Power::Running | Power::Rebooting(_)) => {
                return Verdict::Lost(format!("is meant to run again{by}"));
            }
            (Goal::Running | Goal::Ready, Power::Rebooting(_)) => false,
            (Goal::Running, Power::Running) => self.running.is_some() && !self.paused,
            (Goal::Ready, Power::Running) => self.ready && !self.paused,
            (Goal::Paused, Power::Paused) => self.paused,
            (Goal::Stopped, Power::Stopped(_)) => self.running.is_none(),
        };
        if reached {
            Verdict::Reached
        } else {
            Verdict::Underway
        }
    }

    /// What it is, once reached.
    pub(crate) fn outcome(&self) -> String {
        match (self.goal, &self.running) {
            (Goal::Running, Some(hypervisor)) => format!("running on {} ({hypervisor})", self.host),
            (Goal::Ready, Some(hypervisor)) => format!("ready on {} ({hypervisor})", self.host),
            (Goal::Paused, Some(hypervisor)) => format!("paused on {} ({hypervisor})", self.host),
            (Goal::Stopped, _) => match &self.exit {
                Some(exit) => format!("stopped: {exit}"),
                None => "stopped".to_owned(),
            },
            (Goal::Binned, _) => "deleted; it can be undeleted".to_owned(),
            (Goal::Deleted, _) => "deleted".to_owned(),
            (Goal::Changed, None) => "changed; so at its next start".to_owned(),
            (Goal::Changed, Some(_)) if self.changing => {
                "changed; so when it is resumed or started anew".to_owned()
            }
            (Goal::Changed, Some(_)) if !self.restart_needed.is_empty() => {
                let fields: Vec<_> = self.restart_needed.iter().map(FieldPath::as_str).collect();
                format!("changed; restart needed for {}", fields.join(", "))
            }
            (Goal::Changed, Some(_)) => format!("changed while it runs on {}", self.host),
            (goal, None) => goal.word().to_owned(),
        }
    }

    /// What is waited for, in words.
    pub(crate) fn underway(&self) -> String {
        if let Some(trouble) = &self.trouble {
            return format!("blocked on {}, which tries again: {trouble}", self.host);
        }
        if self.goal == Goal::Changed {
            return format!("{} changes it", self.host);
        }
        match (self.power, &self.running, &self.exit) {
            (Power::Paused, _, _) => format!("{} holds it", self.host),
            (Power::Running, Some(_), _) if self.paused => format!("{} lets it run on", self.host),
            (Power::Rebooting(reboot), Some(_), _) => match reboot.how {
                StopHow::Graceful(timeout) => format!(
                    "asked the guest to power off, to start it anew; {} resets it after {}s",
                    self.host,
                    timeout.seconds()
                ),
                StopHow::Hard => format!("{} resets it", self.host),
            },
            (Power::Rebooting(_), None, _) => format!("powered off; {} starts it anew", self.host),
            (Power::Running, Some(_), _) => format!(
                "running on {}, waiting for the guest to say that it is ready",
                self.host
            ),
            (Power::Running, None, Some(exit)) => format!("{exit}; {} starts it again", self.host),
            (Power::Running, None, None) => format!("placed on {}, starting", self.host),
            (Power::Stopped(StopHow::Graceful(timeout)), _, _) => format!(
                "asked the guest to power off; {} pulls the cord after {}s",
                self.host,
                timeout.seconds()
            ),
            (Power::Stopped(StopHow::Hard), _, _) => format!("{} kills it", self.host),
            (Power::Deleted, Some(_), _) => format!("{} stops it, then removes it", self.host),
            (Power::Deleted, None, _) => format!("{} removes what is left of it", self.host),
        }
    }
}

#[cfg(test)]
mod tests;
