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

impl NotConfirmed {
    pub(crate) fn of(why: impl std::fmt::Display) -> Self {
        Self(why.to_string())
    }
}

/// The rounds of one replica.
#[derive(Default)]
pub(crate) struct Confirm {
    /// The number of the last round that was begun.
    begun: AtomicU64,
    /// The last round that was over, and how it went; held while a round is under way.
    over: Mutex<(u64, Option<NotConfirmed>)>,
}

impl Confirm {
    /// Resolves once a round that was begun after this call is over. All who wait for the same round share what came of
    /// it, so that a leader without a majority tells all of them after one round's time.
    pub(crate) async fn confirm(&self, raft: &Raft<TypeConfig>) -> Result<(), NotConfirmed> {
        let round = async {
            match tokio::time::timeout(PATIENCE, raft.ensure_linearizable()).await {
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(NotConfirmed(error.to_string())),
                Err(_) => Some(NotConfirmed(
                    "the other replicas did not answer in time".to_owned(),
                )),
            }
        };
        self.share(round).await
    }

    async fn share(&self, round: impl Future<Output = Option<NotConfirmed>>) -> Result<(), NotConfirmed> {
        // A round that is under way may have asked before the caller had its reason to.
        let needed = self.begun.load(Ordering::SeqCst) + 1;
        let mut over = self.over.lock().await;
        if over.0 < needed {
            let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            *over = (number, round.await);
        }
        match &over.1 {
            None => Ok(()),
            Some(why) => Err(why.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn all_who_wait_share_one_round_that_was_begun_after_they_asked_also_when_it_fails() {
        // Given a round under way,
        let (confirm, rounds) = (Arc::new(Confirm::default()), Arc::new(AtomicUsize::new(0)));
        let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let first = tokio::spawn({
            let (confirm, begun, go_on) = (Arc::clone(&confirm), Arc::clone(&begun), Arc::clone(&go_on));
            async move {
                let round = async {
                    begun.notify_one();
                    go_on.notified().await;
                    None
                };
                confirm.share(round).await
            }
        });
        begun.notified().await;
        // when many ask meanwhile, and the next round fails,
        let late: Vec<_> = (0..20)
            .map(|_| {
                let (confirm, rounds) = (Arc::clone(&confirm), Arc::clone(&rounds));
                tokio::spawn(async move {
                    let round = async {
                        rounds.fetch_add(1, Ordering::SeqCst);
                        Some(NotConfirmed("nobody answers".to_owned()))
                    };
                    confirm.share(round).await
                })
            })
            .collect();
        // (all of them have asked once each has had its turn on this one thread)
        tokio::task::yield_now().await;
        go_on.notify_one();
        // then the first one's reason is its own, and one round fails for all the others.
        assert!(first.await.unwrap().is_ok());
        for late in late {
            assert!(late.await.unwrap().is_err());
        }
        assert_eq!(rounds.load(Ordering::SeqCst), 1);
    }
}
