//! Which replicas were reached of late: what is known from the calls to them, for all connections of this replica.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chv_domain::ReplicaId;

/// How long an answer counts as one of late: several heartbeats.
const LATELY: Duration = Duration::from_secs(3);

/// The replicas that could not be reached at the last try, and why, so that it is told once and not at each.
///
/// The words are compared, not the kind of error: one that hangs up while it ends and then comes back with a
/// certificate that nobody takes fails in the same kind twice, and the second is what an operator has to know.
#[derive(Clone, Default)]
pub(super) struct Away(Arc<Mutex<BTreeMap<u64, String>>>);

/// What is worth a line in the log.
#[derive(Debug, PartialEq, Eq)]
enum News {
    Reached,
    NotReached,
}

impl Away {
    pub(super) fn told(&self, target: u64, reached: Result<(), &io::Error>) {
        match (self.news(target, reached), reached) {
            (Some(News::Reached), _) => tracing::info!(replica = target, "reached again"),
            (Some(News::NotReached), Err(error)) => {
                tracing::warn!(replica = target, %error, "not reached; trying again until it is");
            }
            _ => {}
        }
    }

    fn news(&self, target: u64, reached: Result<(), &io::Error>) -> Option<News> {
        let mut away = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match reached {
            Ok(()) => away.remove(&target).map(|_| News::Reached),
            Err(error) => {
                let words = error.to_string();
                let before = away.insert(target, words.clone());
                (before != Some(words)).then_some(News::NotReached)
            }
        }
    }
}

/// When each replica last answered.
#[derive(Clone, Default)]
pub(super) struct Answered(Arc<Mutex<BTreeMap<u64, Instant>>>);

impl Answered {
    pub(super) fn note(&self, target: u64) {
        let mut answered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answered.insert(target, Instant::now());
    }

    pub(super) fn lately(&self) -> BTreeSet<ReplicaId> {
        let answered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = answered.iter().filter(|(_, at)| at.elapsed() < LATELY);
        fresh.filter_map(|(id, _)| ReplicaId::new(*id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_that_is_away_is_told_of_once_for_each_reason_and_when_it_is_back() {
        let away = Away::default();
        let denied = |why| io::Error::new(io::ErrorKind::PermissionDenied, why);
        assert_eq!(away.news(2, Ok(())), None);
        assert_eq!(away.news(2, Err(&denied("it hung up"))), Some(News::NotReached));
        assert_eq!(away.news(2, Err(&denied("it hung up"))), None);
        assert_eq!(
            away.news(2, Err(&denied("another authority"))),
            Some(News::NotReached)
        );
        assert_eq!(
            away.news(3, Err(&denied("another authority"))),
            Some(News::NotReached)
        );
        assert_eq!(away.news(2, Ok(())), Some(News::Reached));
        assert_eq!(away.news(2, Ok(())), None);
    }
}
