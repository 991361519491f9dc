//! A virtual machine as the log knows it: what it should be, where it was placed, and what its host
//! last measured.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::ExitReason;
use crate::host::{Capacity, HypervisorKind};
use crate::ids::{CommandId, HostId, VmId};
use crate::life::{Found, Level, State};
use crate::name::{ProjectName, VmName};
use crate::restart::NoMore;
use crate::seq::{Epoch, Seq};
use crate::spec::{FieldPath, OnHostLoss, StopTimeout, VmSpec};
use crate::time::Timestamp;
use crate::trace::TraceContext;

/// How a VM is to be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopHow {
    /// The power button, then after this time the hard way.
    Graceful(StopTimeout),
    /// At once, as if the cord were pulled.
    Hard,
}

/// An order to boot anew: done once, by a boot after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reboot {
    /// The event that ordered it.
    pub order: Seq,
    /// How the guest that runs is ended for it.
    pub how: StopHow,
}

/// What a VM should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Power {
    /// Running, and started again when found otherwise.
    Running,
    /// Running, booted after this order; running and no more once it is.
    Rebooting(Reboot),
    /// Held, with its memory as it is. One whose process ends is stopped.
    Paused,
    /// Not running.
    Stopped(StopHow),
    /// Gone, with everything that its host made for it.
    Deleted,
}

impl Power {
    /// Without the details.
    pub const fn level(self) -> Level {
        match self {
            Self::Running => Level::Running,
            Self::Rebooting(_) => Level::Rebooting,
            Self::Paused => Level::Paused,
            Self::Stopped(_) => Level::Stopped,
            Self::Deleted => Level::Deleted,
        }
    }

    /// Whether it should run, and be started again when found otherwise.
    pub const fn runs(self) -> bool {
        matches!(self, Self::Running | Self::Rebooting(_))
    }
}

/// What a VM's host last measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Never started.
    Created,
    /// Its hypervisor runs it.
    Running {
        /// The hypervisor.
        hypervisor: HypervisorKind,
        /// The hypervisor's process on the host.
        pid: u32,
        /// When the log took note of the start.
        since: Timestamp,
        /// When the log took note that the guest said it is ready.
        ready: Option<Timestamp>,
        /// Whether its vCPUs are held.
        paused: bool,
    },
    /// It ran, and ended.
    Stopped {
        /// How it ended.
        reason: ExitReason,
        /// When the log took note.
        since: Timestamp,
    },
}

/// Why a VM is not yet what it should be. The host goes on trying.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What stands in the way, and what to do.
    pub reason: String,
    /// When the log took note.
    pub since: Timestamp,
}

/// The host that runs a VM, and its right to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// The host.
    pub host: HostId,
    /// The grant.
    pub epoch: Epoch,
}

/// The desired state's last change: what a host's steps are caused by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ordered {
    /// The command that asked for it.
    pub command: CommandId,
    /// The event that accepted it.
    pub seq: Seq,
    /// When.
    pub time: Timestamp,
    /// The trace it belongs to.
    pub trace: Option<Box<TraceContext>>,
}

/// A change of what a VM is that a guest which runs, or may run for all that is known, has not, or not all of. Only its host's
/// word ends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unapplied {
    /// The event that changed it.
    pub order: Seq,
    /// The fields that need a new start; `None` before its host has said.
    pub restart_needed: Option<Vec<FieldPath>>,
    /// What the guest was reserved before: it may still have that.
    pub before: Capacity,
    /// Whether a guest may still run that was started without its host's lease.
    pub unleased: bool,
}

/// What few VMs have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aside {
    /// What people note on it at length; no meaning to Chronovisor.
    pub annotations: BTreeMap<String, String>,
    /// Whether it can't be deleted before somebody lifts that.
    pub protected: bool,
    /// The event that last changed its spec; 0 when none has.
    pub changed: Seq,
    /// What the guest that runs is not yet.
    pub unapplied: Option<Unapplied>,
    /// Why it is not started again, where nobody had asked for its end.
    pub stays: Option<NoMore>,
    /// Of one that is deleted and can be undeleted: until when. It has no name meanwhile, nor afterwards.
    pub binned: Option<Timestamp>,
}

/// One virtual machine. There are a great many: what most have not is not in it, but elsewhere where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vm {
    /// Its id.
    pub id: VmId,
    /// Its project.
    pub project: ProjectName,
    /// Its name, unique in the project.
    pub name: VmName,
    /// What people say about it; no meaning to Chronovisor.
    pub labels: BTreeMap<String, String>,
    /// What few have; `None` when there is nothing of it.
    pub aside: Option<Box<Aside>>,
    /// What it is.
    pub spec: Arc<VmSpec>,
    /// What it should do.
    pub power: Power,
    /// The command behind the last change of `spec` or `power`; its seq is the VM's revision.
    pub ordered: Ordered,
    /// Where it is.
    pub placement: Option<Placement>,
    /// What its host measured.
    pub phase: Phase,
    /// What keeps its host from converging, if anything.
    pub trouble: Option<Box<Trouble>>,
    /// When it was created.
    pub created: Timestamp,
}

/// A VM's state in one word, for people: what it should be and what was measured, taken together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Should run, does not yet.
    Starting,
    /// Runs; the guest has not said that it is ready.
    Running,
    /// Runs, and the guest said that it is ready.
    Ready,
    /// Should be held, still runs.
    Pausing,
    /// Held.
    Paused,
    /// Should run on, is still held.
    Resuming,
    /// Runs, and is to boot anew.
    Rebooting,
    /// Should not run, still does.
    Stopping,
    /// Does not run, and should not.
    Stopped,
    /// Its host can't make it what it should be, says why, and goes on trying.
    Blocked,
    /// Deleted, and can be undeleted for a time.
    Deleted,
    /// Being removed from its host.
    Deleting,
}

impl Status {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Ready => "ready",
            Self::Pausing => "pausing",
            Self::Paused => "paused",
            Self::Resuming => "resuming",
            Self::Rebooting => "rebooting",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Blocked => "blocked",
            Self::Deleted => "deleted",
            Self::Deleting => "deleting",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Vm {
    /// The event that last changed what the VM should be. A command may carry it as what it expects.
    pub const fn revision(&self) -> Seq {
        self.ordered.seq
    }

    /// The last order or grant: an end that was under an earlier one says nothing of what is asked for by now.
    pub fn order(&self) -> Seq {
        let granted = self.placement.map_or(Seq::ZERO, |placement| placement.epoch.0);
        self.revision().max(granted)
    }

    /// What few have, as it is of this one.
    pub fn aside(&self) -> Aside {
        self.aside.as_deref().cloned().unwrap_or_default()
    }

    /// Changes what few have.
    pub(crate) fn change_aside(&mut self, change: impl FnOnce(&mut Aside)) {
        let mut aside = self.aside();
        change(&mut aside);
        self.aside = (aside != Aside::default()).then(|| Box::new(aside));
    }

    /// Why it is not started again, where nobody had asked for its end.
    pub fn stays(&self) -> Option<NoMore> {
        self.aside.as_ref()?.stays
    }

    /// Until when it can be undeleted, when it is deleted. It has no name then.
    pub fn binned(&self) -> Option<Timestamp> {
        self.aside.as_ref()?.binned
    }

    /// What it should be, without the details.
    pub fn level(&self) -> Level {
        match (self.power.level(), self.binned()) {
            (Level::Stopped, Some(_)) => Level::Binned,
            (level, _) => level,
        }
    }

    /// Whether it can't be deleted before somebody lifts that.
    pub fn is_protected(&self) -> bool {
        self.aside.as_ref().is_some_and(|aside| aside.protected)
    }

    /// The event that last changed its spec; 0 when none has.
    pub fn changed(&self) -> Seq {
        self.aside.as_ref().map_or(Seq::ZERO, |aside| aside.changed)
    }

    /// What the guest that runs is not yet.
    pub fn unapplied(&self) -> Option<&Unapplied> {
        self.aside.as_ref()?.unapplied.as_ref()
    }

    /// The fields of its spec that are so only after a new start.
    pub fn restart_needed(&self) -> &[FieldPath] {
        self.unapplied()
            .and_then(|unapplied| unapplied.restart_needed.as_deref())
            .unwrap_or_default()
    }

    /// What its host keeps for it: what it is to be, and what the guest that runs may still have.
    pub fn reserved(&self) -> Capacity {
        let is = Capacity::of(&self.spec);
        self.unapplied().map_or(is, |unapplied| is.most(unapplied.before))
    }

    /// Whether its host says that its hypervisor runs it.
    pub const fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running { .. })
    }

    /// Whether it is to be placed elsewhere when its host's lease is over.
    pub fn fails_over(&self) -> bool {
        let unleased = self.unapplied().is_some_and(|unapplied| unapplied.unleased);
        self.spec.on_host_loss == OnHostLoss::Failover && self.power.runs() && !unleased
    }

    /// Its state: what it should be and what was measured.
    pub fn state(&self) -> State {
        let found = match self.phase {
            Phase::Running { paused: false, .. } => Found::Running,
            Phase::Running { paused: true, .. } => Found::Paused,
            Phase::Created | Phase::Stopped { .. } => Found::Absent,
        };
        State::of(self.level(), found)
    }

    /// The state in one word, with whether the guest is ready, and whether something stands in the way.
    pub fn status(&self) -> Status {
        if self.trouble.is_some() {
            return Status::Blocked;
        }
        match (self.state(), &self.phase) {
            (State::Starting, _) => Status::Starting,
            (State::Running, Phase::Running { ready: Some(_), .. }) => Status::Ready,
            (State::Running, _) => Status::Running,
            (State::Pausing, _) => Status::Pausing,
            (State::Paused, _) => Status::Paused,
            (State::Resuming, _) => Status::Resuming,
            (State::Rebooting, _) => Status::Rebooting,
            (State::Stopping, _) => Status::Stopping,
            (State::Stopped, _) => Status::Stopped,
            (State::Deleted, _) => Status::Deleted,
            (State::Deleting, _) => Status::Deleting,
        }
    }
}

// A replica holds every VM. Beside what its texts take, this is most of what one costs.
const _: () = assert!(size_of::<Vm>() <= 248, "a VM has become larger");
