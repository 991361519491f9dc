//! How long a graceful stop may take.

use serde::{Deserialize, Serialize};

/// Seconds that a graceful stop may take: 1 to 3,600, 30 when not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct StopTimeout(u32);

/// A stop timeout outside 1 to 3,600 seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stop timeout is 1 to 3600 seconds, not {0}; to stop at once, kill the VM")]
pub struct StopTimeoutError(u32);

impl StopTimeout {
    /// The timeout in seconds.
    pub const fn seconds(self) -> u32 {
        self.0
    }

    /// The timeout.
    pub const fn duration(self) -> std::time::Duration {
        std::time::Duration::from_secs(self.0 as u64)
    }
}

impl Default for StopTimeout {
    fn default() -> Self {
        Self(30)
    }
}

impl TryFrom<u32> for StopTimeout {
    type Error = StopTimeoutError;

    fn try_from(seconds: u32) -> Result<Self, StopTimeoutError> {
        match seconds {
            1..=3600 => Ok(Self(seconds)),
            _ => Err(StopTimeoutError(seconds)),
        }
    }
}

impl From<StopTimeout> for u32 {
    fn from(timeout: StopTimeout) -> u32 {
        timeout.0
    }
}
