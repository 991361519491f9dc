//! Which replicas were reached of late: what is known from the calls to them, for all connections of this replica.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chv_domain::ReplicaId;

/// How long an answer counts as one of late: several heartbeats.
const LATELY: Duration = Duration::from_secs(3);

/// The replicas that could not be reached at the last try, and how that went, so that it is told once and not at each.
#[derive(Clone, Default)]
pub(super) struct Away(Arc<Mutex<BTreeMap<u64, io::ErrorKind>>>);

impl Away {
    pub(super) fn told(&self, target: u64, reached: Result<(), &io::Error>) {
        let mut away = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match reached {
            Ok(()) if away.remove(&target).is_some() => tracing::info!(replica = target, "reached again"),
            Err(error) if away.insert(target, error.kind()) != Some(error.kind()) => {
                tracing::warn!(replica = target, %error, "not reached; trying again until it is");
            }
            Ok(()) | Err(_) => {}
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
