//! How much a device may do in a time: token buckets for bytes and for operations.

use super::fields::{Rules, spec};
use super::part::{Fault, LIMITING};
use super::within::Within;

/// How many tokens a bucket holds.
pub type Tokens = Within<1, { i64::MAX as u64 }>;

/// Milliseconds from an empty bucket to a full one.
pub type RefillTime = Within<1, 86_400_000>;

spec! {
    /// What a device may do in a time. Each bucket is empty when as much was done as it holds, and fills evenly.
    pub struct RateLimit {
        optional {
            /// Bytes.
            bandwidth: Option<TokenBucket> = "no limit";
            /// Operations: requests of a disk, packets of a network card.
            ops: Option<TokenBucket> = "no limit";
        }
    }
}

spec! {
    /// A bucket of tokens; each byte or operation takes one.
    pub struct TokenBucket {
        required {
            /// How many tokens it holds: bytes or operations.
            size: Tokens;
            /// Milliseconds in which it fills from empty.
            refill_ms: RefillTime;
        }
        optional {
            /// Tokens beside, given once at the start.
            one_time_burst: Option<Tokens> = "none", on(LIMITING);
        }
    }
}

impl Rules for RateLimit {
    fn broken(&self) -> Option<Fault> {
        let empty = self.bandwidth.is_none() && self.ops.is_none();
        empty.then(|| Fault::new("", "limits nothing; give bandwidth or ops, or leave it out"))
    }
}

impl Rules for TokenBucket {}

impl TokenBucket {
    /// How many tokens come in a second; at least one.
    pub const fn per_second(&self) -> u64 {
        let rate = self.size.get() as u128 * 1000 / self.refill_ms.get() as u128;
        if rate == 0 {
            1
        } else if rate > u64::MAX as u128 {
            u64::MAX
        } else {
            rate as u64
        }
    }
}
