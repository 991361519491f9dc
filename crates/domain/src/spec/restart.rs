//! What becomes of a VM that ended without having been asked to, and which VMs are started first.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::choice::choice;
use super::fields::{ReadShort, Rules, spec};
use super::part::{Fault, Part};
use super::within::Within;

choice! {
    /// After which ends a VM is started again.
    pub enum RestartPolicy or OnFailure {
        /// After none.
        Never = "never",
        /// After each but a power-off of the guest's own.
        OnFailure = "on-failure",
        /// After each.
        Always = "always",
    }
}

impl Part for RestartPolicy {
    fn values() -> String {
        "never, on-failure (not after a power-off of the guest's own) or always".to_owned()
    }
}

spec! {
    /// What becomes of a VM that ended without having been asked to.
    #[derive(Default)]
    pub struct Restart {
        optional {
            /// After which ends it is started again.
            policy: RestartPolicy = "on-failure";
            /// How long its host waits before it starts it again, in seconds; twice as long after each further end, a fifth
            /// of it by chance.
            backoff: Option<Within<1, 3_600>> = "1";
            /// The longest of these waits, in seconds.
            max_backoff: Option<Within<1, 86_400>> = "60, or backoff where that is longer";
            /// How often in a row it is started again. Then it stays stopped, until somebody starts it.
            limit: Option<Within<1, 1_000>> = "no limit";
            /// How long it must have run for a good run, in seconds: after one it is started again at once, and nothing
            /// that was before counts.
            reset_after: Option<Within<1, 86_400>> = "60";
        }
    }
}

impl Rules for Restart {
    const SHORT: Option<ReadShort<Self>> = Some(|text| {
        Ok(Self {
            policy: text.parse()?,
            ..Self::default()
        })
    });

    fn broken(&self) -> Option<Fault> {
        let most = self.max_backoff?;
        (most.get() < self.first_wait()).then(|| {
            let why = format!("{most} is less than backoff, which is {}", self.first_wait());
            Fault::new("maxBackoff", why)
        })
    }
}

impl Restart {
    fn first_wait(&self) -> u64 {
        self.backoff.map_or(1, Within::get)
    }

    /// The first wait and the longest one.
    pub(crate) fn waits(&self) -> (Duration, Duration) {
        let first = self.first_wait();
        let most = self.max_backoff.map_or(first.max(60), Within::get);
        (Duration::from_secs(first), Duration::from_secs(most))
    }

    /// How long a good run is at least.
    pub(crate) fn good_run(&self) -> Duration {
        Duration::from_secs(self.reset_after.map_or(60, Within::get))
    }
}

/// Which VMs of a host are started first where many are to be: those with the higher number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i32", into = "i32")]
pub struct StartPriority(i16);

/// A start priority out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a start priority is -1000 to 1000, not {0}")]
pub struct StartPriorityError(i32);

impl TryFrom<i32> for StartPriority {
    type Error = StartPriorityError;

    fn try_from(number: i32) -> Result<Self, StartPriorityError> {
        match i16::try_from(number) {
            Ok(fits) if (-1000..=1000).contains(&fits) => Ok(Self(fits)),
            _ => Err(StartPriorityError(number)),
        }
    }
}

impl From<StartPriority> for i32 {
    fn from(priority: StartPriority) -> Self {
        priority.0.into()
    }
}

impl Part for StartPriority {
    fn values() -> String {
        "a whole number, -1000 to 1000".to_owned()
    }
}
