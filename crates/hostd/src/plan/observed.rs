//! What is known of one VM on this host, and how what was done and seen changes it.

use std::sync::Arc;
use std::time::Duration;

use chv_domain::{DesiredVm, Epoch, ExitReason, Power, Run, Seq, Timestamp, VmSpec};
use serde::{Deserialize, Serialize};

use super::Wanted;
use super::boots::{Begun, BootId, Boots};
use super::change::{Begun as BegunChange, Runs};
use super::pace::Pace;

/// A graceful stop under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// The order that it carries out: a later stop has a timeout of its own.
    #[serde(default)]
    pub revision: Seq,
    /// When the power button was first pressed: the timeout counts from here.
    pub since: Timestamp,
    /// When it was last pressed.
    pub pressed: Timestamp,
}

/// How a guest that runs is: as its hypervisor says, and whether it may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Nothing is known to be wrong.
    Sound,
    /// Its vCPUs are held, by a pause.
    Paused,
    /// It is held until something on this host changes. Its memory is as it was: it is never killed for that.
    Stalled(String),
    /// Its hypervisor's process is there and does not answer. The guest may run on: it is never killed for that.
    Mute(String),
    /// Its hypervisor gave it up, in this way.
    Broken(String),
    /// The lease that it was started under has ended, also when the host has another one by now: it may run elsewhere.
    Unleased,
}

impl Health {
    /// Whether its vCPUs are held by a pause; `None` where that says nothing.
    pub const fn held(&self) -> Option<bool> {
        match self {
            Self::Sound => Some(false),
            Self::Paused => Some(true),
            Self::Stalled(_) | Self::Mute(_) | Self::Broken(_) | Self::Unleased => None,
        }
    }
}

/// What a process that runs has behind it, and what the log was told of that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// Its boots, as noted.
    pub boots: Boots,
    /// Since when it is looked after.
    pub found: Timestamp,
    /// The boot that its guest says it is in.
    pub says: Option<BootId>,
    /// Whether it was reported as held.
    pub told_paused: bool,
    /// The last order to boot anew that was reported as carried out.
    pub told_boot: Seq,
    /// What it is; `None` when nothing here says.
    pub runs: Option<Runs>,
}

impl Ran {
    /// Of a process that is looked after since `found`.
    pub const fn new(boots: Boots, runs: Option<Runs>, found: Timestamp) -> Self {
        Self {
            runs,
            boots,
            found,
            says: None,
            told_paused: false,
            told_boot: Seq::ZERO,
        }
    }
}

/// The process that runs a VM, as far as steps depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guest {
    /// There is none, and there is nothing to tell about one.
    Absent,
    /// Whether there is one can't be told now: so nothing is told, launched or removed.
    Unclear,
    /// One was found that nobody looks after yet.
    Found {
        /// The grant that it was started under, when that is known.
        epoch: Option<Epoch>,
        /// A graceful stop that was under way.
        stop: Option<Stop>,
        /// Its boots, as noted.
        boots: Boots,
        /// What it is, as noted.
        runs: Option<Runs>,
    },
    /// It runs and is looked after.
    Running {
        /// The grant that it was started under, when that is known.
        epoch: Option<Epoch>,
        /// Whether it was reported that it runs.
        told: bool,
        /// A graceful stop under way.
        stop: Option<Stop>,
        /// How it is.
        health: Health,
        /// What it has behind it.
        ran: Ran,
    },
    /// It ended, and that was not reported yet.
    Ended {
        /// The grant that it ran under, when that is known.
        epoch: Option<Epoch>,
        /// How it ended.
        reason: ExitReason,
        /// The run that ended.
        run: Run,
    },
}

/// The last end of a VM's process, by which it is told when it is started again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastEnd {
    /// How it ended.
    pub reason: ExitReason,
    /// The run that ended.
    pub run: Run,
    /// When that was seen.
    pub at: Timestamp,
    /// Any number, so that VMs that end together are not started again together.
    pub chance: u8,
}

/// What is known of one VM on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The highest grant that was seen for it.
    pub epoch: Option<Epoch>,
    /// Its process.
    pub guest: Guest,
    /// Whether this host has files or notes of it.
    pub leftovers: bool,
    /// What was last reported to stand in the way; `None` when nothing does.
    pub blocked: Option<String>,
    /// Whether it was reported that nothing of it is left.
    pub removed_told: bool,
    /// Whether a guest may be started under this host's lease now.
    pub leased: bool,
    /// The last change of its spec of which it was reported how much of it is so here.
    pub told_changed: Seq,
    /// When steps may be tried again.
    pub pace: Pace,
    /// The last order or grant that was heard.
    pub order: Seq,
    /// How often in a row it was started again under that order.
    pub restarts: u32,
    /// How it ended last, when it does not run.
    pub last_end: Option<LastEnd>,
}

impl Observed {
    /// A VM that this host has never seen.
    pub const fn nothing() -> Self {
        Self {
            epoch: None,
            guest: Guest::Absent,
            leftovers: false,
            blocked: None,
            removed_told: false,
            leased: false,
            told_changed: Seq::ZERO,
            pace: Pace::new(),
            order: Seq::ZERO,
            restarts: 0,
            last_end: None,
        }
    }

    /// Something else is wanted now.
    pub fn asked(&mut self, wanted: &Wanted) {
        if let Wanted::Vm(vm) = wanted {
            self.epoch = self.epoch.max(Some(vm.epoch));
            if self.order != vm.order() {
                (self.order, self.restarts) = (vm.order(), 0);
            }
        }
        self.pace.reset();
        if wanted.runs() {
            // The order has cleared it in the log: what still stands in the way is told anew.
            self.blocked = None;
        }
        if wanted.runs()
            && let Guest::Running { stop, .. } | Guest::Found { stop, .. } = &mut self.guest
        {
            // One for the order to boot anew goes on.
            let order = wanted.reboot().map(|reboot| reboot.order);
            *stop = stop.filter(|stop| Some(stop.revision) == order);
        }
    }

    /// A process was found that nobody looks after.
    pub fn found(&mut self, epoch: Option<Epoch>, stop: Option<Stop>, boots: Boots, runs: Option<Runs>) {
        self.guest = Guest::Found {
            epoch,
            stop,
            boots,
            runs,
        };
        self.told_changed = Seq::ZERO;
        self.leftovers = true;
        self.removed_told = false;
    }

    /// The process that was found is looked after.
    pub fn adopted(&mut self, now: Timestamp) {
        if let Guest::Found {
            epoch,
            stop,
            boots,
            runs,
        } = &self.guest
        {
            self.guest = Guest::Running {
                epoch: *epoch,
                told: false,
                stop: *stop,
                health: Health::Sound,
                ran: Ran::new(boots.clone(), runs.clone(), now),
            };
        }
    }

    /// It was reported that it runs under `granted`, and whether it is held.
    pub fn told_adopted(&mut self, granted: Epoch) {
        if let Guest::Running {
            epoch,
            told,
            health,
            ran,
            ..
        } = &mut self.guest
        {
            (*epoch, *told) = (Some(granted), true);
            ran.told_paused = *health == Health::Paused;
        }
    }

    /// It was reported that it is held, or not.
    pub fn told_paused(&mut self, paused: bool) {
        if let Guest::Running { ran, .. } = &mut self.guest {
            ran.told_paused = paused;
        }
    }

    /// It was reported that it has booted after `order`.
    pub fn told_rebooted(&mut self, order: Seq) {
        if let Guest::Running { ran, .. } = &mut self.guest {
            ran.told_boot = order;
        }
    }

    /// This is about to be made of it, by which it becomes that.
    pub fn changing(&mut self, begun: BegunChange) {
        self.runs(|runs| runs.begun = Some(begun));
    }

    /// It is this by now, while it runs.
    pub fn changed(&mut self, is: Arc<VmSpec>) {
        self.runs(|runs| (runs.is, runs.begun) = (is, None));
        self.pace.succeeded();
    }

    fn runs(&mut self, change: impl FnOnce(&mut Runs)) {
        if let Guest::Running {
            ran: Ran { runs: Some(runs), .. },
            ..
        } = &mut self.guest
        {
            change(runs);
        }
    }

    /// It was reported how much of what it was changed to by the event `changed` is so.
    pub const fn told_applied(&mut self, changed: Seq) {
        self.told_changed = changed;
    }

    /// Its guest says which boot it is in.
    pub fn says(&mut self, boot: BootId) {
        if let Guest::Running { ran, .. } = &mut self.guest {
            ran.says = Some(boot);
        }
    }

    /// A reset for `order` is about to be done.
    pub fn resetting(&mut self, order: Seq) {
        if let Guest::Running { ran, .. } = &mut self.guest {
            let ends = ran.says.clone();
            ran.boots.begun = Some(Begun { order, ends });
        }
    }

    /// It has booted after `order`, in the process that it has.
    pub fn booted(&mut self, order: Seq) {
        if let Guest::Running {
            ran, stop, health, ..
        } = &mut self.guest
        {
            ran.boots = Boots {
                after: order,
                begun: None,
            };
            ran.says = None;
            *stop = None;
            if *health != Health::Unleased {
                *health = Health::Sound;
            }
        }
        self.pace.succeeded();
    }

    /// Files and notes are about to be made for it.
    pub fn makes(&mut self) {
        self.leftovers = true;
        self.removed_told = false;
    }

    /// The hypervisor runs it since `now` as `vm` said, and that was reported.
    pub fn launched(&mut self, vm: &DesiredVm, runs: Runs, now: Timestamp) {
        let after = match vm.power {
            Power::Rebooting(reboot) => reboot.order,
            _ => Seq::ZERO,
        };
        let boots = Boots { after, begun: None };
        self.guest = Guest::Running {
            epoch: Some(vm.epoch),
            told: true,
            stop: None,
            health: Health::Sound,
            ran: Ran {
                told_boot: after,
                ..Ran::new(boots, Some(runs), now)
            },
        };
        self.told_changed = vm.changed;
        self.blocked = None;
        self.makes();
        self.pace.succeeded();
        self.last_end = None;
    }

    /// Its power button was pressed, for the order `revision`. Says whether that was the first time.
    pub fn pressed(&mut self, revision: Seq, now: Timestamp) -> bool {
        let Guest::Running { stop, .. } = &mut self.guest else {
            return false;
        };
        let before = stop.filter(|stop| stop.revision == revision);
        *stop = Some(Stop {
            revision,
            since: before.map_or(now, |stop| stop.since),
            pressed: now,
        });
        before.is_none()
    }

    /// How it is, as its hypervisor says; what its hypervisor says gives no lease back.
    pub fn is(&mut self, now: Health) {
        if let Guest::Running { health, .. } = &mut self.guest
            && *health != Health::Unleased
        {
            *health = now;
        }
    }

    /// Its process ended after it had run for `ran`, as was seen `now`.
    pub fn ended(&mut self, reason: ExitReason, now: Timestamp, ran: Duration, chance: u8) {
        let epoch = match self.guest {
            Guest::Running { epoch, .. } | Guest::Found { epoch, .. } => epoch,
            Guest::Absent | Guest::Unclear | Guest::Ended { .. } => None,
        };
        let run = Run {
            order: self.order,
            ran_ms: u64::try_from(ran.as_millis()).unwrap_or(u64::MAX),
            restarts: self.restarts,
        };
        self.pace.succeeded();
        self.has_ended(
            epoch,
            LastEnd {
                reason,
                run,
                at: now,
                chance,
            },
        );
    }

    /// It is known to have ended so.
    pub fn has_ended(&mut self, epoch: Option<Epoch>, end: LastEnd) {
        self.guest = Guest::Ended {
            epoch,
            reason: end.reason.clone(),
            run: end.run,
        };
        self.last_end = Some(end);
    }

    /// Its end was reported. An end clears what stood in the way, in the log too.
    pub fn told_exited(&mut self) {
        self.guest = Guest::Absent;
        self.blocked = None;
    }

    /// Nothing of it is left.
    pub fn removed(&mut self) {
        self.leftovers = false;
        self.pace.succeeded();
    }
}
