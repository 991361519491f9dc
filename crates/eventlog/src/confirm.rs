//! Making sure of leadership: one round of asking the other replicas at a time, for all who wait.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::Raft;
use tokio::sync::Mutex;

use crate::raft::TypeConfig;

/// How long a round may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// This replica can't make sure that it leads.
#[derive(Debug, Clone, thiserror::Error)]
#[error("this replica can't make sure that it leads: {0}")]
pub struct NotConfirmed(String);

/// The rounds of one replica.
#[derive(Default)]
pub(crate) struct Confirm {
    /// The number of the last round that was begun.
    begun: AtomicU64,
    /// The last round that succeeded; held while a round is under way.
    succeeded: Mutex<u64>,
}

impl Confirm {
    /// Resolves once a round that was begun after this call has succeeded, or failed for this caller.
    pub(crate) async fn confirm(&self, raft: &Raft<TypeConfig>) -> Result<(), NotConfirmed> {
        // A round that is under way may have asked before the caller had its reason to.
        let needed = self.begun.load(Ordering::SeqCst) + 1;
        let mut succeeded = self.succeeded.lock().await;
        if *succeeded >= needed {
            return Ok(());
        }
        let round = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        match tokio::time::timeout(PATIENCE, raft.ensure_linearizable()).await {
            Ok(Ok(_)) => {
                *succeeded = round;
                Ok(())
            }
            Ok(Err(error)) => Err(NotConfirmed(error.to_string())),
            Err(_) => Err(NotConfirmed(
                "the other replicas did not answer in time".to_owned(),
            )),
        }
    }
}
