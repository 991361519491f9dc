//! How long a host may run the VMs that ask for failover without hearing from the leader, and how long the leader
//! waits before it places them elsewhere. See docs/adr/0026.
//!
//! A host counts from when it sent the request that was answered, the leader from when it answered, so the host's
//! count began first. Both count on clocks that nobody sets; what these may drift apart, and what it takes a host to
//! end its guests, fits between the two.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How long a lease lasts: 3 to 20 seconds, 15 when not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeaseDuration(Duration);

/// A duration that no lease has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a lease lasts 3 to 20 seconds, not {0}")]
pub struct LeaseDurationError(String);

impl LeaseDuration {
    /// A host renews once a second, and one lost message must not cost it its guests.
    pub const SHORTEST: Self = Self(Duration::from_secs(3));

    /// A new leader waits for leases of this length, whatever it grants itself: another replica may have been told
    /// to grant longer ones.
    pub const LONGEST: Self = Self(Duration::from_secs(20));

    /// Takes a duration within the bounds.
    ///
    /// # Errors
    /// When it is outside of them.
    pub fn new(duration: Duration) -> Result<Self, LeaseDurationError> {
        match duration >= Self::SHORTEST.0 && duration <= Self::LONGEST.0 {
            true => Ok(Self(duration)),
            false => Err(LeaseDurationError(duration.as_secs_f64().to_string())),
        }
    }

    /// The whole of it.
    pub const fn get(self) -> Duration {
        self.0
    }

    /// How long after it sent the request a host goes on running guests under the lease: four fifths of it. The
    /// rest is for ending them.
    pub fn runs_for(self) -> Duration {
        self.0 * 4 / 5
    }

    /// How long after its last answer the leader counts the host's lease as over: a fifth more than all of it.
    pub fn over_after(self) -> Duration {
        self.0 * 6 / 5
    }
}

impl Default for LeaseDuration {
    fn default() -> Self {
        Self(Duration::from_secs(15))
    }
}

impl fmt::Display for LeaseDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0.as_secs_f64())
    }
}

impl FromStr for LeaseDuration {
    type Err = LeaseDurationError;

    /// Whole seconds, with or without an `s` behind them.
    fn from_str(text: &str) -> Result<Self, LeaseDurationError> {
        let seconds = text.strip_suffix('s').unwrap_or(text).parse();
        let seconds = seconds.map_err(|_| LeaseDurationError(format!("{text:?}")))?;
        Self::new(Duration::from_secs(seconds))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How far a host's clock and the leader's may be off the right pace, each.
    const DRIFT: f64 = 0.01;

    #[test]
    fn given_text_then_only_what_is_within_the_bounds_is_a_lease() {
        assert_eq!("15s".parse(), Ok(LeaseDuration::default()));
        assert_eq!("3".parse(), Ok(LeaseDuration::SHORTEST));
        for text in ["2s", "21s", "", "-3", "4m"] {
            assert!(text.parse::<LeaseDuration>().is_err(), "{text}");
        }
    }

    proptest! {
        /// given clocks that drift apart and an answer that comes late, when the leader counts a lease as over, then
        /// its host has had a quarter of it and more to end its guests.
        #[test]
        fn a_host_s_guests_are_ended_before_the_leader_counts_its_lease_as_over(
            ms in 3000u64..=20_000, answered_ms in 0u64..5000, slow in 0.0..DRIFT, fast in 0.0..DRIFT,
        ) {
            let lease = LeaseDuration::new(Duration::from_millis(ms)).unwrap();
            let ends = lease.runs_for().as_secs_f64() / (1.0 - slow);
            let over = answered_ms as f64 / 1000.0 + lease.over_after().as_secs_f64() / (1.0 + fast);
            prop_assert!(over - ends >= lease.get().as_secs_f64() / 4.0);
        }
    }
}
