//! What is known of one VM on this host, and how what was done and seen changes it.

use std::time::Duration;

use chv_domain::{Epoch, ExitReason, Seq, Timestamp};
use serde::{Deserialize, Serialize};

use super::Wanted;
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
    /// It is held until something on this host changes. Its memory is as it was: it is never killed for that.
    Stalled(String),
    /// Its hypervisor gave it up, in this way.
    Broken(String),
    /// The lease that it was started under has ended, also when the host has another one by now: it may run elsewhere.
    Unleased,
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
    },
    /// It ended, and that was not reported yet.
    Ended {
        /// The grant that it ran under, when that is known.
        epoch: Option<Epoch>,
        /// How it ended.
        reason: ExitReason,
    },
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
    /// When steps may be tried again.
    pub pace: Pace,
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
            pace: Pace::new(),
        }
    }
    /// Something else is wanted now.
    pub fn asked(&mut self, wanted: &Wanted) {
        if let Wanted::Vm(vm) = wanted {
            self.epoch = self.epoch.max(Some(vm.epoch));
        }
        self.pace.reset();
        if wanted.runs() {
            // The order has cleared it in the log: what still stands in the way is told anew.
            self.blocked = None;
        }
        if wanted.runs()
            && let Guest::Running { stop, .. } | Guest::Found { stop, .. } = &mut self.guest
        {
            *stop = None;
        }
    }

    /// A process was found that nobody looks after.
    pub fn found(&mut self, epoch: Option<Epoch>, stop: Option<Stop>) {
        self.guest = Guest::Found { epoch, stop };
        self.leftovers = true;
        self.removed_told = false;
    }

    /// The process that was found is looked after.
    pub fn adopted(&mut self) {
        if let Guest::Found { epoch, stop } = self.guest {
            self.guest = Guest::Running {
                epoch,
                told: false,
                stop,
                health: Health::Sound,
            };
        }
    }

    /// It was reported that it runs under `granted`.
    pub fn told_adopted(&mut self, granted: Epoch) {
        if let Guest::Running { epoch, told, .. } = &mut self.guest {
            (*epoch, *told) = (Some(granted), true);
        }
    }

    /// The hypervisor runs it, and that was reported.
    pub fn launched(&mut self, epoch: Epoch) {
        self.guest = Guest::Running {
            epoch: Some(epoch),
            told: true,
            stop: None,
            health: Health::Sound,
        };
        self.leftovers = true;
        self.blocked = None;
        self.removed_told = false;
        self.pace.succeeded();
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

    /// Its process ended after it had run for `ran`; `should_run` says whether that was unasked.
    pub fn ended(&mut self, reason: ExitReason, should_run: bool, now: Timestamp, ran: Duration) {
        let epoch = match self.guest {
            Guest::Running { epoch, .. } | Guest::Found { epoch, .. } => epoch,
            Guest::Absent | Guest::Unclear | Guest::Ended { .. } => None,
        };
        self.guest = Guest::Ended { epoch, reason };
        match should_run {
            true => self.pace.ended(now, ran),
            false => self.pace.succeeded(),
        }
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
