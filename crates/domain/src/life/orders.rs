//! Which order is taken in which state, and what it makes of the VM.

use std::fmt;

use super::{Level, State};

/// What a person can order of a VM that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Order {
    /// Let it run.
    Start,
    /// Hold it.
    Pause,
    /// Let it run on.
    Resume,
    /// Boot it anew, asking its guest first.
    Reboot,
    /// Boot it anew at once.
    Reset,
    /// Ask its guest to power off, and end it after a while.
    Stop,
    /// End it at once.
    Kill,
    /// Remove it after a time.
    Delete,
    /// Remove it after a time, also when it should run.
    ForceDelete,
    /// Remove it.
    DeleteNow,
    /// Remove it, also when it should run.
    ForceDeleteNow,
    /// Take back that it was deleted.
    Undelete,
}

/// What comes of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The VM should be so from now on.
    Leads(Level),
    /// It should be so already.
    Already,
    /// Refused; this is what to do instead.
    Refused(&'static str),
}

/// What comes of `order` for a VM that is in `state`.
pub const fn ordered(state: State, order: Order) -> Rule {
    use State::{
        Deleted, Deleting, Paused, Pausing, Rebooting, Resuming, Running, Starting, Stopped, Stopping,
    };
    match (state, order) {
        (Deleting, Order::Delete | Order::ForceDelete | Order::DeleteNow | Order::ForceDeleteNow) => {
            Rule::Already
        }
        (Deleting, _) => Rule::Refused("create another one"),

        (Deleted, Order::Delete | Order::ForceDelete) => Rule::Already,
        (Deleted, Order::DeleteNow | Order::ForceDeleteNow) => Rule::Leads(Level::Deleted),
        (Deleted, Order::Undelete) => Rule::Leads(Level::Stopped),
        (Deleted, _) => Rule::Refused("undelete it first"),
        (_, Order::Undelete) => Rule::Refused("it is not deleted"),

        (Starting | Running | Resuming | Rebooting, Order::Start) => Rule::Already,
        (Pausing | Paused, Order::Start) => Rule::Refused("resume it"),
        (Stopping | Stopped, Order::Start) => Rule::Leads(Level::Running),

        (Running | Resuming, Order::Pause) => Rule::Leads(Level::Paused),
        (Pausing | Paused, Order::Pause) => Rule::Already,
        (Starting | Rebooting, Order::Pause) => Rule::Refused("wait until it runs, then pause it"),
        (Stopping | Stopped, Order::Pause) => Rule::Refused("there is nothing to hold; start it first"),

        (Starting | Running | Resuming | Rebooting, Order::Resume) => Rule::Already,
        (Pausing | Paused, Order::Resume) => Rule::Leads(Level::Running),
        (Stopping | Stopped, Order::Resume) => Rule::Refused("start it"),

        (Running, Order::Reboot | Order::Reset) => Rule::Leads(Level::Rebooting),
        (Rebooting, Order::Reboot) => Rule::Already,
        // A reset overtakes a reboot that takes too long.
        (Rebooting, Order::Reset) => Rule::Leads(Level::Rebooting),
        (Starting, Order::Reboot | Order::Reset) => {
            Rule::Refused("it boots anew as it is; wait until it runs")
        }
        (Pausing | Paused | Resuming, Order::Reboot | Order::Reset) => {
            Rule::Refused("resume it first, and wait until it runs")
        }
        (Stopping | Stopped, Order::Reboot | Order::Reset) => Rule::Refused("start it"),

        (Starting | Running | Pausing | Paused | Resuming | Rebooting, Order::Stop) => {
            Rule::Leads(Level::Stopped)
        }
        (Stopping | Stopped, Order::Stop) => Rule::Already,

        // Also where it does not seem to run: the word that it started may still be on its way.
        (_, Order::Kill) => Rule::Leads(Level::Stopped),

        (Stopping | Stopped, Order::Delete) | (_, Order::ForceDelete) => Rule::Leads(Level::Binned),
        (Stopping | Stopped, Order::DeleteNow) | (_, Order::ForceDeleteNow) => Rule::Leads(Level::Deleted),
        (Starting | Running | Pausing | Paused | Resuming | Rebooting, Order::Delete | Order::DeleteNow) => {
            Rule::Refused("stop it first, or delete it with --force")
        }
    }
}

impl Order {
    /// Every order.
    pub const ALL: [Self; 12] = [
        Self::Start,
        Self::Pause,
        Self::Resume,
        Self::Reboot,
        Self::Reset,
        Self::Stop,
        Self::Kill,
        Self::Delete,
        Self::ForceDelete,
        Self::DeleteNow,
        Self::ForceDeleteNow,
        Self::Undelete,
    ];

    /// As it is written on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Reboot => "reboot",
            Self::Reset => "reset",
            Self::Stop => "stop",
            Self::Kill => "kill",
            Self::Delete => "delete",
            Self::ForceDelete => "delete --force",
            Self::DeleteNow => "delete --now",
            Self::ForceDeleteNow => "delete --now --force",
            Self::Undelete => "undelete",
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
