//! The queues through which a guest and a device talk.

use serde::{Deserialize, Serialize};

use super::part::Part;
use super::within::Within;

/// The most requests that QEMU lets a queue hold.
pub(super) const QEMU_QUEUE: u32 = 1024;

/// How many queues a device has; of a network card, pairs of them.
pub type Queues = Within<1, 256>;

/// How many requests a queue holds: a power of two from 2 to 32,768.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct QueueSize(u32);

/// A number that is no size of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a queue's size is a power of two from 2 to 32768, not {0}")]
pub struct QueueSizeError(u32);

impl QueueSize {
    /// The size.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for QueueSize {
    type Error = QueueSizeError;

    fn try_from(size: u32) -> Result<Self, QueueSizeError> {
        match size.is_power_of_two() && (2..=32768).contains(&size) {
            true => Ok(Self(size)),
            false => Err(QueueSizeError(size)),
        }
    }
}

impl From<QueueSize> for u32 {
    fn from(size: QueueSize) -> u32 {
        size.0
    }
}

impl Part for QueueSize {
    fn values() -> String {
        "a power of two, 2 to 32768".to_owned()
    }
}
