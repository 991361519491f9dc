//! What is waited for.

use clap::ValueEnum;

/// What a VM is waited to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// Its hypervisor runs it.
    Running,
    /// Its guest said that it is ready.
    Ready,
    /// Its processors are held.
    Paused,
    /// It does not run.
    Stopped,
    /// It is what its spec was changed to, as far as that goes without a new start.
    Changed,
    /// It is deleted, can be undeleted, and does not run.
    Binned,
    /// Nothing of it is left.
    Deleted,
}

impl Goal {
    /// In a word.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Ready => "ready",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
            Self::Changed => "changed",
            Self::Binned | Self::Deleted => "deleted",
        }
    }
}

/// How far a VM that is started is waited for.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Until {
    /// What to wait for: that the hypervisor runs it, or that its guest says it is ready.
    #[arg(long = "for", value_enum, default_value_t = State::Running, value_name = "STATE")]
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    Running,
    Ready,
}

impl From<Until> for Goal {
    fn from(until: Until) -> Self {
        match until.state {
            State::Running => Self::Running,
            State::Ready => Self::Ready,
        }
    }
}
