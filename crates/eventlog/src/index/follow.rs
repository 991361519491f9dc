//! Keeps the index up with the log, behind the commits and out of their way, fills it with what is sealed, and makes it
//! again when it does not agree with what it is made from.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chv_domain::Seq;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::fill::fill;
use super::forward::{Sources, StepError};
use super::verify::{self, Verdict};
use super::{Index, IndexError, IndexHealth, IndexState, Mark};
use crate::files::Disk;
use crate::raft::LogId;

/// How long the index may stay behind the log while nobody searches: taking in many entries at once costs little more
/// than taking in one, and under load it would otherwise cost more than the commits.
const EVERY: Duration = Duration::from_millis(250);

/// How long to wait after a failure.
const AGAIN: Duration = Duration::from_secs(1);

/// How long searches may take to let go of an index that is to be made again.
const LET_GO: Duration = Duration::from_secs(30);

/// The index, once it can be used, and how it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reached {
    pub(crate) index: Option<Index>,
    pub(crate) health: IndexHealth,
    /// Told when somebody waits for the index to have all that is applied.
    pub(crate) wanted: Arc<Notify>,
}

/// What following the log with the index needs.
pub(crate) struct Follower {
    pub(crate) path: PathBuf,
    pub(crate) sources: Sources,
    /// Is told how far the index is.
    pub(crate) reached: watch::Sender<Reached>,
    /// How long after it is ready the whole index is compared for the first time.
    pub(crate) verify_after: Duration,
    /// While it can't be written, the index is left as it is.
    pub(crate) disk: Disk,
}

/// Why the index is not followed any further.
enum End {
    /// It was asked to.
    Stopped,
    /// The index has to be made again.
    Differs,
    /// Nothing can be written.
    ReadOnly,
}

impl Follower {
    /// Opens the index, checks where it ends, then follows the log until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let path = self.path.clone();
        let kept_up = match verify::blocking(move || Index::open(&path)).await {
            Ok(index) => self.keep_up(index, &stop).await,
            Err(error) => Err(error.to_string()),
        };
        let state = match kept_up {
            Ok(()) => IndexState::Opening,
            Err(why) => {
                error!(
                    error = why,
                    "the index can't be used: searches in the log are refused"
                );
                IndexState::Unusable
            }
        };
        // Nobody holds it any more, so that it is closed.
        self.reached.send_modify(|reached| {
            reached.index = None;
            reached.health.state = state;
        });
    }

    async fn keep_up(&self, mut index: Index, stop: &CancellationToken) -> Result<(), String> {
        let mut mark = self.agreed(&index, stop).await;
        loop {
            let end = match mark {
                Some(mark) => self.follow(&index, mark, stop).await,
                None => End::Differs,
            };
            match end {
                _ if stop.is_cancelled() => {
                    return self.close(index).await.map_err(|error| error.to_string());
                }
                // It can't be made again now, and may well be good: searches in it go on.
                End::Differs if self.disk.writable().is_err() => self.until_writable(stop).await,
                End::ReadOnly => {
                    self.until_writable(stop).await;
                    let reopened = self.reopened(index, stop).await;
                    (index, mark) = reopened.map_err(|error| error.to_string())?;
                }
                End::Differs => {
                    index = self.anew(index).await.map_err(|error| error.to_string())?;
                    mark = Some(Mark::default());
                }
                End::Stopped => {
                    return self.close(index).await.map_err(|error| error.to_string());
                }
            }
        }
    }

    /// Drops the index and begins an empty one.
    async fn anew(&self, index: Index) -> Result<Index, IndexError> {
        warn!("the index does not agree with what it is made from; it is made again");
        self.reached.send_modify(|reached| {
            reached.index = None;
            let rebuilt = reached.health.rebuilt + 1;
            reached.health = IndexHealth {
                rebuilt,
                ..IndexHealth::default()
            };
        });
        self.close(index).await?;
        let path = self.path.clone();
        verify::blocking(move || Index::anew(&path)).await
    }

    async fn until_writable(&self, stop: &CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.disk.turned_writable() => {}
        }
    }

    /// Opens the index again: after a write that failed sled takes no other.
    async fn reopened(
        &self,
        index: Index,
        stop: &CancellationToken,
    ) -> Result<(Index, Option<Mark>), IndexError> {
        self.close(index).await?;
        let path = self.path.clone();
        let index = verify::blocking(move || Index::open(&path)).await?;
        let mark = self.agreed(&index, stop).await;
        Ok((index, mark))
    }

    /// Closes the index. sled locks its directory, and writes there as long as it is open: searches that are under way,
    /// and what fills it or compares it, end first.
    async fn close(&self, index: Index) -> Result<(), IndexError> {
        self.reached.send_modify(|reached| reached.index = None);
        let unshared = async {
            while !index.is_unshared() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        match tokio::time::timeout(LET_GO, unshared).await {
            Ok(()) => Ok(()),
            Err(_) => Err(index.failed("searches in it don't end")),
        }
    }

    /// Follows the log with the index, which agrees with it at `mark`, fills it, and compares it whole now and then.
    async fn follow(&self, index: &Index, mut mark: Mark, stop: &CancellationToken) -> End {
        self.reached.send_modify(|reached| {
            reached.index = Some(index.clone());
            reached.health.state = IndexState::Ready;
            reached.health.seq = mark.seq;
        });
        let applied = &self.sources.applied;
        let (mut entry, mut sealed) = (applied.entry.subscribe(), self.sources.history.span());
        let wanted = Arc::clone(&self.reached.borrow().wanted);
        let mut differs = std::pin::pin!(self.until_it_differs(index));
        loop {
            if self.disk.writable().is_err() {
                return End::ReadOnly;
            }
            // In this order: a seq is told after the entry that it came with.
            let seq = *applied.seq.borrow();
            let end = entry.borrow_and_update().map_or(0, |applied| applied.index);
            sealed.mark_unchanged();
            while mark.entry < end && !stop.is_cancelled() {
                match self.sources.step(index, mark, end).await {
                    Ok(Some(now)) => mark = now,
                    Ok(None) => break,
                    Err(StepError::Differs) => return End::Differs,
                    Err(error) => {
                        error!(%error, "searches fall behind");
                        break;
                    }
                }
                self.reached.send_modify(|reached| reached.health.seq = mark.seq);
            }
            if mark.entry >= end && mark.seq < seq {
                error!(index = %mark.seq, applied = %seq, "the index has not what was applied");
                tokio::time::sleep(AGAIN).await;
                return End::Differs;
            }
            let again = match mark.entry < end {
                true => Some(AGAIN),
                false => self.fill(index).await,
            };
            tokio::select! {
                () = stop.cancelled() => return End::Stopped,
                _ = self.disk.turned_read_only() => return End::ReadOnly,
                () = &mut differs => return End::Differs,
                () = tokio::time::sleep(again.unwrap_or_default()), if again.is_some() => {}
                changed = sealed.changed() => if changed.is_err() { return End::Stopped },
                changed = entry.changed() => if changed.is_err() { return End::Stopped },
            }
            tokio::select! {
                () = stop.cancelled() => return End::Stopped,
                () = wanted.notified() => {}
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    /// Takes some of what is sealed in; when to go on with it, if there is more.
    async fn fill(&self, index: &Index) -> Option<Duration> {
        let oldest = self.sources.applied.projection.borrow().cluster().oldest_kept();
        let (into, history) = (index.clone(), self.sources.history.clone());
        match verify::blocking(move || fill(&into, &history, oldest)).await {
            Ok(more) => more.then_some(Duration::ZERO),
            Err(error) => {
                warn!(%error, "the index does not take sealed history for now");
                Some(AGAIN)
            }
        }
    }

    /// Compares the whole index with what it is made from, again and again; resolves when they differ.
    async fn until_it_differs(&self, index: &Index) {
        let mut pause = self.verify_after;
        loop {
            tokio::time::sleep(pause).await;
            pause = verify::NEXT;
            match verify::compare(index, &self.sources).await {
                Ok(Verdict::Agrees(seq)) => {
                    info!(%seq, "the whole index agrees with the log and with sealed history");
                    self.reached.send_modify(|reached| reached.health.verified = seq);
                }
                Ok(Verdict::Unknown) => pause = self.verify_after,
                Ok(Verdict::Differs) => return,
                Err(error) => {
                    warn!(%error, "the index does not read");
                    return;
                }
            }
        }
    }

    /// The index's mark, when it is what the log was there. `None` also when `stop` came first.
    async fn agreed(&self, index: &Index, stop: &CancellationToken) -> Option<Mark> {
        let mark = index
            .mark()
            .inspect_err(|error| warn!(%error, "the index's mark does not read"))
            .ok()?;
        if mark.seq == Seq::ZERO {
            return Some(mark);
        }
        // Only what is applied here is known to be the log; a restarted replica learns it from the leader.
        let mut applied = self.sources.applied.entry.subscribe();
        let has = |applied: &Option<LogId>| applied.is_some_and(|applied| applied.index >= mark.entry);
        tokio::select! {
            () = stop.cancelled() => return None,
            reached = applied.wait_for(has) => {
                reached.ok()?;
            }
        }
        let agrees = self.sources.holds(mark).await;
        let agrees = agrees
            .inspect_err(|error| warn!(%error, "the index can't be compared"))
            .ok()?;
        info!(entry = mark.entry, seq = %mark.seq, agrees, "the index was compared with the log");
        agrees.then_some(mark)
    }
}
