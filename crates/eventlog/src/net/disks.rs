//! What the other replicas said of their disks of late, when they answered this one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chv_domain::ReplicaId;

use crate::disks::Troubles;
use crate::files::DiskTrouble;

/// How long it counts: several heartbeats.
const LATELY: Duration = Duration::from_secs(3);

#[derive(Clone, Default)]
pub(super) struct Disks(Arc<Mutex<BTreeMap<u64, (DiskTrouble, Instant)>>>);

impl Disks {
    /// The replica `of` told its trouble, or that it has none.
    pub(super) fn note(&self, of: u64, trouble: Option<DiskTrouble>) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match trouble {
            Some(trouble) => drop(told.insert(of, (trouble, Instant::now()))),
            None => drop(told.remove(&of)),
        }
    }

    pub(super) fn lately(&self) -> Troubles {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = told.iter().filter(|(_, (_, at))| at.elapsed() < LATELY);
        fresh
            .filter_map(|(of, (trouble, _))| Some((ReplicaId::new(*of)?, trouble.clone())))
            .collect()
    }
}
