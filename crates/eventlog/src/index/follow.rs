//! Keeps the index up with the log, behind the commits and out of their way, and makes it again when it does not
//! agree with the log.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use openraft::EntryPayload;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::verify::{self, Verdict};
use super::{Index, IndexError, IndexHealth, IndexState, Mark};
use crate::chain::{self, Chain};
use crate::raft::log_storage::LogStorage;
use crate::raft::state_machine::Applied;
use crate::raft::{Entry, LogId};

/// How many bytes of the log are taken in at a time.
const PAGE: usize = 4 << 20;

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
    pub(crate) log: LogStorage,
    pub(crate) applied: Applied,
    /// Is told how far the index is.
    pub(crate) reached: watch::Sender<Reached>,
    /// How long after it is ready the whole index is compared with the log for the first time.
    pub(crate) verify_after: Duration,
}

/// Why the index is not followed any further.
enum End {
    /// It was asked to.
    Stopped,
    /// The index has to be made again.
    Differs,
    /// It can't be used at all.
    Failed(String),
}

impl Follower {
    /// Opens the index, checks it against the log, then follows the log until `stop`.
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
                _ if stop.is_cancelled() => return Ok(()),
                End::Stopped => return Ok(()),
                End::Differs => {
                    index = self.anew(index).await.map_err(|error| error.to_string())?;
                    mark = Some(Mark::default());
                }
                End::Failed(why) => return Err(why),
            }
        }
    }

    /// Drops the index and begins an empty one.
    async fn anew(&self, index: Index) -> Result<Index, IndexError> {
        warn!("the index does not agree with the log; it is made again");
        self.reached.send_modify(|reached| {
            reached.index = None;
            let rebuilt = reached.health.rebuilt + 1;
            reached.health = IndexHealth {
                rebuilt,
                ..IndexHealth::default()
            };
        });
        // sled locks its directory, and writes there as long as it is open: searches that are under way end first.
        let unshared = async {
            while !index.is_unshared() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(LET_GO, unshared).await.is_err() {
            return Err(index.failed("searches in it don't end"));
        }
        drop(index);
        let path = self.path.clone();
        verify::blocking(move || Index::anew(&path)).await
    }

    /// Follows the log with the index, which agrees with it up to `mark`, and compares it whole now and then.
    async fn follow(&self, index: &Index, mut mark: Mark, stop: &CancellationToken) -> End {
        self.reached.send_modify(|reached| {
            reached.index = Some(index.clone());
            reached.health.state = IndexState::Ready;
            reached.health.seq = mark.seq;
        });
        let mut applied = self.applied.entry.subscribe();
        let wanted = Arc::clone(&self.reached.borrow().wanted);
        let mut chain = Chain::at(mark.seq, mark.hash);
        let mut differs = std::pin::pin!(self.until_it_differs(index));
        loop {
            let end = applied.borrow_and_update().map_or(0, |applied| applied.index);
            while mark.entry < end {
                if stop.is_cancelled() {
                    return End::Stopped;
                }
                let page = match self.log.entries(mark.entry + 1, end + 1, PAGE).await {
                    Ok(page) => page,
                    Err(error) => {
                        error!(%error, "the index can't read the log; searches fall behind");
                        break;
                    }
                };
                if page.first().map(|entry| entry.log_id.index) != Some(mark.entry + 1) {
                    // The log begins later: this replica was given a snapshot instead of what it missed.
                    let base = *self.applied.base.borrow();
                    if base.entry <= mark.entry {
                        break;
                    }
                    warn!(from = %mark.seq, to = %base.seq, "the index leaves out what the log has not");
                    let (from, into) = (base.seq.next(), index.clone());
                    if let Err(error) = verify::blocking(move || into.leave_out_before(from)).await {
                        return End::Failed(error.to_string());
                    }
                    (mark, chain) = (base, Chain::at(base.seq, base.hash));
                    self.reached.send_modify(|reached| reached.health.seq = mark.seq);
                    continue;
                }
                let into = index.clone();
                let from = (mark, chain);
                match tokio::task::spawn_blocking(move || take_in(&into, &page, from)).await {
                    Ok(Ok(now)) => (mark, chain) = now,
                    Ok(Err(error)) => {
                        error!(%error, "searches fall behind");
                        break;
                    }
                    Err(error) => return End::Failed(error.to_string()),
                }
                self.reached.send_modify(|reached| reached.health.seq = mark.seq);
            }
            let behind = mark.entry < end;
            tokio::select! {
                () = stop.cancelled() => return End::Stopped,
                () = &mut differs => return End::Differs,
                () = tokio::time::sleep(AGAIN), if behind => {}
                changed = applied.changed() => if changed.is_err() { return End::Stopped },
            }
            tokio::select! {
                () = stop.cancelled() => return End::Stopped,
                () = wanted.notified() => {}
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    /// Compares the whole index with the log, again and again; resolves when they differ.
    async fn until_it_differs(&self, index: &Index) {
        let mut pause = self.verify_after;
        loop {
            tokio::time::sleep(pause).await;
            pause = verify::NEXT;
            match verify::compare(index, &self.log).await {
                Ok(Verdict::Agrees(seq)) => {
                    info!(%seq, "the whole index agrees with the log");
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

    /// The index's mark, when the log holds at that entry what the index says. `None` also when `stop` came first.
    async fn agreed(&self, index: &Index, stop: &CancellationToken) -> Option<Mark> {
        let mark = index
            .mark()
            .inspect_err(|error| warn!(%error, "the index's mark does not read"))
            .ok()?;
        if mark == Mark::default() {
            return Some(mark);
        }
        // Only what is applied here is known to be the log; a restarted replica learns it from the leader.
        let mut applied = self.applied.entry.subscribe();
        let has = |applied: &Option<LogId>| applied.is_some_and(|applied| applied.index >= mark.entry);
        tokio::select! {
            () = stop.cancelled() => return None,
            reached = applied.wait_for(has) => {
                reached.ok()?;
            }
        }
        let mut from = mark.entry;
        loop {
            let entry = self.log.entries(from, from + 1, usize::MAX).await.ok()?.pop()?;
            if let EntryPayload::Normal(batch) = &entry.payload
                && let Some(last) = batch.records.last()
                && last.last() <= mark.seq
            {
                let agrees = last.last() == mark.seq && last.hash() == mark.hash;
                info!(entry = mark.entry, seq = %mark.seq, agrees, "the index was compared with the log");
                return agrees.then_some(mark);
            }
            // Raft's own entries, and batches that were dropped, say nothing about the chain.
            from = from.checked_sub(1)?;
        }
    }
}

fn take_in(index: &Index, page: &[Entry], from: (Mark, Chain)) -> Result<(Mark, Chain), IndexError> {
    let (mut mark, mut chain) = from;
    let mut records = Vec::new();
    for entry in page {
        if chain.takes(entry) {
            let of = chain::records(entry).iter();
            records.extend(of.map(|record| (entry.log_id.index, record)));
        }
        mark.entry = entry.log_id.index;
    }
    (mark.seq, mark.hash) = chain.end();
    index.add(&records, mark)?;
    Ok((mark, chain))
}
