//! The thread that looks after history, out of the commits' way: it seals, makes checkpoints, asks for snapshots, and
//! lets the Raft log go that nobody needs. It runs at a low priority, so that under load commits have the processors.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};
use std::{io, thread};

use chv_domain::{RecordHash, Seq};
use openraft::Raft;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::{error, info, warn};

use super::checkpoint::{self, Checkpoints};
use super::error::HistoryError;
use super::pace::{Pace, Weight, purge_upto};
use super::seal::{SealError, Sealer};
use crate::files::Disk;
use crate::raft::TypeConfig;
use crate::raft::log_storage::LogStorage;
use crate::raft::snapshot::Snapshots;
use crate::raft::state_machine::Applied;

/// How often it looks for something to do.
const TICK: Duration = Duration::from_millis(100);

/// How long to wait after a failure.
const AGAIN: Duration = Duration::from_secs(2);

/// The thread's niceness: its share is small under load, and enough to seal what is committed meanwhile while that is in
/// memory. Reading it again later would take several times as much.
const NICE: i32 = 10;

/// The last event, and its record's hash, of history that this replica lacks.
pub(crate) type Missing = Option<(Seq, RecordHash)>;

/// In so many parts of the time that history is kept for it is sealed, at least.
const PARTS: u32 = 8;

/// What should be forgotten is still there.
#[derive(Debug, thiserror::Error)]
enum ForgetError {
    /// The files.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The checkpoints.
    #[error("checkpoints: {0}")]
    Checkpoints(#[from] io::Error),
}

/// What the thread works on.
pub(crate) struct Upkeep {
    pub(crate) sealer: Sealer,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) log: LogStorage,
    pub(crate) snapshots: Snapshots,
    pub(crate) applied: Applied,
    pub(crate) raft: Raft<TypeConfig>,
    pub(crate) pace: Pace,
    /// Bytes of log entries that are kept, though sealed, for replicas that are behind.
    pub(crate) keep_log: u64,
    /// Told what has to be fetched before more can be sealed.
    pub(crate) missing: watch::Sender<Missing>,
    /// Nothing is sealed or made a snapshot of while the disk is nearly full, which would end the process; and nothing at
    /// all is done while it can't be written.
    pub(crate) disk: Disk,
}

/// Ends the thread when it is dropped.
pub(crate) struct UpkeepThread {
    _stop: SyncSender<()>,
}

impl Upkeep {
    /// Starts the thread. It holds `token` for as long as it lives.
    pub(crate) fn start(self, token: TaskTrackerToken) -> io::Result<UpkeepThread> {
        let (stop, stopped) = sync_channel(0);
        let runtime = Handle::current();
        thread::Builder::new().name("history".to_owned()).spawn(move || {
            lower_priority(NICE);
            self.work(&stopped, &runtime);
            drop(token);
        })?;
        Ok(UpkeepThread { _stop: stop })
    }

    fn work(mut self, stopped: &Receiver<()>, runtime: &Handle) {
        let mut pause = TICK;
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(pause) {
            if self.disk.writable().is_err() {
                pause = TICK;
                continue;
            }
            pause = match self.seal() {
                Ok(()) => TICK,
                Err(error) => {
                    error!(%error, "history is not sealed for now");
                    AGAIN
                }
            };
            let now = self.applied.projection.borrow().clone();
            if let Err(error) = self.forget(now.cluster().oldest_kept()) {
                error!(%error, "history is not forgotten for now");
            }
            match self
                .disk
                .check()
                .map_or(Ok(false), |()| self.checkpoints.step(&now))
            {
                Ok(true) => pause = Duration::ZERO,
                Ok(false) => {}
                Err(error) => {
                    warn!(%error, "states of the past are slow to have for now");
                    pause = AGAIN;
                }
            }
            if runtime.block_on(self.ask_raft()).is_err() {
                // Raft has ended, and told why elsewhere.
                return;
            }
        }
    }

    fn seal(&mut self) -> Result<(), SealError> {
        if self.disk.check().is_err() {
            return Ok(());
        }
        // In this order: a seq is told after the entry that it came with.
        let seq = *self.applied.seq.borrow();
        let applied = self.applied.entry.borrow().map_or(0, |applied| applied.index);
        let complete = self.sealer.run(applied, seq)?;
        self.seal_by_age()?;
        let known = *self.missing.borrow();
        let oldest = self.applied.projection.borrow().cluster().oldest_kept();
        let sealed = self.checkpoints.history().span();
        let sealed = sealed.borrow().map_or(Seq::ZERO, |span| span.newest);
        let missing = match complete {
            true => None,
            // Every state is the end of some history; the one that was a snapshot is sealed elsewhere already. What was
            // forgotten meanwhile nobody has any more, and what is sealed by now leads no further: another snapshot came.
            false => known
                .into_iter()
                .chain([self.anchor()])
                .find(|(upto, _)| *upto >= oldest && *upto > sealed),
        };
        if known != missing {
            self.missing.send_replace(missing);
            if let Some((upto, _)) = missing {
                warn!(%upto, "history up to there is not here; it is to be fetched");
            }
        }
        Ok(())
    }

    /// What is kept for some time only is sealed after a part of it, so that it can be forgotten when its time comes. By
    /// the log's own time: where nothing happens, nothing is sealed.
    fn seal_by_age(&mut self) -> Result<(), SealError> {
        let (retention, time) = {
            let state = self.applied.projection.borrow();
            (state.cluster().retention(), state.time())
        };
        match retention.keep_for {
            Some(keep) => self.sealer.close_older(time.minus(keep.duration() / PARTS)),
            None => Ok(()),
        }
    }

    /// Deletes what is before `oldest`, which no replica keeps any more.
    fn forget(&mut self, oldest: Seq) -> Result<(), ForgetError> {
        let history = self.checkpoints.history();
        if !history.reaches_before(oldest) {
            return Ok(());
        }
        let base = Seq(oldest.0 - 1);
        if let Err(error) = self.checkpoints.make_at(base) {
            // This replica was away, and has not all that leads there.
            warn!(%error, seq = %base, "the state there is not here");
        }
        for file in history.trim(oldest)? {
            info!(first = %file.first, last = %file.last, "history was forgotten");
        }
        checkpoint::trim(history, oldest)?;
        Ok(())
    }

    /// An event to which history is wanted, where the log goes on.
    fn anchor(&self) -> (Seq, RecordHash) {
        let base = *self.applied.base.borrow();
        if base.entry + 1 >= self.log.first_index() {
            return (base.seq, base.hash);
        }
        let state = self.applied.projection.borrow();
        (state.seq(), state.hash())
    }

    /// Asks for a snapshot when one is due, and for a purge of what is sealed and in a snapshot.
    async fn ask_raft(&mut self) -> Result<(), openraft::error::Fatal<u64>> {
        let snapshot = self.raft.metrics().borrow().snapshot.map_or(0, |last| last.index);
        let seq = *self.applied.seq.borrow();
        let room = self.disk.check().is_ok();
        let weight = Weight::of(&self.applied.projection.borrow());
        if room
            && self.pace.is_due(
                Instant::now(),
                seq,
                weight,
                snapshot,
                self.log.first_of_last(self.pace.log_bytes()),
            )
        {
            self.raft.trigger().snapshot().await?;
        }
        let fallback = self.snapshots.fallback().unwrap_or_else(|error| {
            warn!(%error, "the snapshots can't be listed; the log is not purged for now");
            None
        });
        let fallback = fallback.unwrap_or(0);
        let purged = self.log.first_index().saturating_sub(1);
        let kept_from = self.log.first_of_last(self.keep_log);
        if let Some(upto) = purge_upto(self.sealer.covered(), fallback, kept_from, purged) {
            self.raft.trigger().purge_log(upto).await?;
        }
        Ok(())
    }
}

/// Of this thread alone. Linux gives threads priorities of their own.
pub(crate) fn lower_priority(nice: i32) {
    if let Err(error) = rustix::process::setpriority_process(None, nice) {
        warn!(%error, "work in the background runs at the common priority");
    }
}
