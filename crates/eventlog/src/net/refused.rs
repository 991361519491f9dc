//! What was refused to whom, so that it is told once and not at each of many tries.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

/// After how long the same refusal is told again.
const AGAIN: Duration = Duration::from_secs(60);

/// How many refusals are remembered; when there are more, all are forgotten.
const MOST: usize = 64;

#[derive(Clone, Default)]
pub(super) struct Refused(Arc<Mutex<BTreeMap<(IpAddr, String), Instant>>>);

impl Refused {
    /// Tells that a connection from `address` was refused, and why.
    pub(super) fn tell(&self, address: IpAddr, why: &str) {
        if self.is_news(address, why, Instant::now()) {
            warn!(caller = %address, why, "a connection was refused");
        }
    }

    fn is_news(&self, address: IpAddr, why: &str, now: Instant) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let refusal = (address, why.to_owned());
        if told
            .get(&refusal)
            .is_some_and(|at| now.duration_since(*at) < AGAIN)
        {
            return false;
        }
        if told.len() >= MOST && !told.contains_key(&refusal) {
            told.clear();
        }
        told.insert(refusal, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_refusal_is_told_once_a_minute_and_another_at_once() {
        let (refused, now) = (Refused::default(), Instant::now());
        let address = IpAddr::from([127, 0, 0, 1]);
        assert!(refused.is_news(address, "expired", now));
        assert!(!refused.is_news(address, "expired", now + AGAIN / 2));
        assert!(refused.is_news(address, "another authority", now + AGAIN / 2));
        assert!(!refused.is_news(address, "expired", now + AGAIN / 2));
        assert!(refused.is_news(address, "another authority", now + AGAIN * 2));
        for last in 0..200 {
            assert!(refused.is_news(IpAddr::from([10, 0, 0, last]), "expired", now));
        }
        assert!(refused.0.lock().unwrap().len() <= MOST);
    }
}
