//! Where what a host measures leads.

use std::fmt;

use super::State;

/// What a host can measure that changes a VM's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measured {
    /// A process was started, and its vCPUs run.
    Started,
    /// Its vCPUs are held.
    Paused,
    /// Its vCPUs run again.
    Resumed,
    /// It has booted anew in the process that it has; by itself, or as it was ordered.
    Rebooted,
    /// Its process ended.
    Exited,
    /// Its process ended, and its restart policy has it stay so.
    Ended,
    /// Nothing of it is left.
    Removed,
}

/// The state that `measured` leads to; `None` when there is no VM any more, or when that can't be measured.
pub const fn measured(state: State, measured: Measured) -> Option<State> {
    use State::{
        Deleted, Deleting, Paused, Pausing, Rebooting, Resuming, Running, Starting, Stopped, Stopping,
    };
    Some(match (measured, state) {
        (Measured::Started, Starting | Running | Resuming | Rebooting) => Running,
        (Measured::Started, Pausing | Paused) => Pausing,
        (Measured::Started, Stopping | Stopped) => Stopping,

        (Measured::Paused, Running | Resuming) => Resuming,
        (Measured::Paused, Pausing | Paused) => Paused,

        (Measured::Resumed, Running | Resuming) => Running,
        (Measured::Resumed, Pausing | Paused) => Pausing,

        (Measured::Paused | Measured::Resumed, Starting | Stopped) => return None,
        (Measured::Paused | Measured::Resumed, Rebooting | Stopping) => state,

        // What boots is not held.
        (Measured::Rebooted, Running | Resuming | Rebooting) => Running,
        (Measured::Rebooted, Pausing | Paused) => Pausing,
        (Measured::Rebooted, Stopping) => Stopping,
        (Measured::Rebooted, Starting | Stopped) => return None,

        (Measured::Exited, Running | Resuming | Rebooting) => Starting,
        // Also where it was not known that it ran.
        (Measured::Ended, Starting | Running | Resuming) => Stopped,
        // What was ordered overtakes the policy.
        (Measured::Ended, Rebooting) => Starting,
        // Its memory is lost, and with it what holding it was good for: it is not made again before it is asked for.
        (Measured::Exited | Measured::Ended, Pausing | Paused | Stopping) => Stopped,
        (Measured::Exited, Starting | Stopped) | (Measured::Ended, Stopped) => return None,

        (Measured::Removed, _) => return None,
        (_, Deleted) => Deleted,
        (_, Deleting) => Deleting,
    })
}

impl Measured {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::Started,
        Self::Paused,
        Self::Resumed,
        Self::Rebooted,
        Self::Exited,
        Self::Ended,
        Self::Removed,
    ];

    /// The word, as in the event's kind.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::Rebooted => "rebooted",
            Self::Exited => "exited",
            Self::Ended => "exited, not started again",
            Self::Removed => "deleted",
        }
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
