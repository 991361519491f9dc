//! The life of a VM: its states, and which orders and which measurements lead from one to another. One table, by which
//! orders are decided; docs/reference/states.md is drawn from it.

mod measured;
mod orders;

use std::fmt;

pub use measured::{Measured, measured};
pub use orders::{Order, Rule, ordered};

/// What a VM should be: the level that an order sets, without its details.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// Running.
    Running,
    /// Running, and booted anew since it was ordered.
    Rebooting,
    /// Held, with its memory as it is.
    Paused,
    /// Not running.
    Stopped,
    /// Not running, and removed after a time unless it is undeleted before.
    Binned,
    /// Gone.
    Deleted,
}

/// What was found of a VM on its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Found {
    /// No process.
    Absent,
    /// A process whose vCPUs run.
    Running,
    /// A process whose vCPUs are held.
    Paused,
}

/// What a VM is: what it should be and what was found, taken together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Should run, does not yet.
    Starting,
    /// Runs.
    Running,
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
    /// Is deleted, and can be undeleted for a time.
    Deleted,
    /// Is being removed from its host.
    Deleting,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 10] = [
        Self::Starting,
        Self::Running,
        Self::Pausing,
        Self::Paused,
        Self::Resuming,
        Self::Rebooting,
        Self::Stopping,
        Self::Stopped,
        Self::Deleted,
        Self::Deleting,
    ];

    /// The state of a VM that should be `level`, of which `found` was measured.
    pub const fn of(level: Level, found: Found) -> Self {
        match (level, found) {
            // A start is what an order to boot anew asks for.
            (Level::Running | Level::Rebooting, Found::Absent) => Self::Starting,
            (Level::Running, Found::Running) => Self::Running,
            (Level::Running, Found::Paused) => Self::Resuming,
            (Level::Rebooting, Found::Running | Found::Paused) => Self::Rebooting,
            (Level::Paused, Found::Running) => Self::Pausing,
            (Level::Paused, Found::Paused) => Self::Paused,
            // One that is held is not made again when its process ends: see `measured`.
            (Level::Paused | Level::Stopped, Found::Absent) => Self::Stopped,
            (Level::Stopped, Found::Running | Found::Paused) => Self::Stopping,
            (Level::Binned, _) => Self::Deleted,
            (Level::Deleted, _) => Self::Deleting,
        }
    }

    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Pausing => "pausing",
            Self::Paused => "paused",
            Self::Resuming => "resuming",
            Self::Rebooting => "rebooting",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Deleted => "deleted",
            Self::Deleting => "deleting",
        }
    }

    /// What it means, in a sentence.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Starting => "It should run, and does not yet.",
            Self::Running => "Its hypervisor runs it.",
            Self::Pausing => "It should be held, and still runs.",
            Self::Paused => "Its processors are held; its memory is as it was.",
            Self::Resuming => "It should run on, and is still held.",
            Self::Rebooting => "It runs, and is to boot anew.",
            Self::Stopping => "It should not run, and still does.",
            Self::Stopped => "It does not run, and should not.",
            Self::Deleted => {
                "It is deleted, and can be undeleted until its time is over. It is stopped, where it ran."
            }
            Self::Deleting => "It is being removed from its host.",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
