//! Raft's log over the segment files, and Raft's vote: what is written. How it is read is in `reading`.
//!
//! An entry can be read as soon as it is appended, before it is flushed, since it is replicated meanwhile: so
//! the newest entries are kept in memory too.
//!
//! openraft replicates an entry only once its own log says that it is flushed. A leader's log says so at once, and
//! so the replicas flush at the same time; what holds until the flush is everything that could show: see
//! docs/adr/0022.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use chv_domain::ReplicaId;
use chv_domain::stored::StoredError;
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{EntryPayload, LogState, OptionalSend, RaftLogId as _};
use tokio::sync::watch;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::fit::Ends;
use super::flush::{Flushed, NotFlushed, may_go_ahead, no_longer_leading};
use super::newest::Newest;
use super::stopwatch::Stopwatch;
use super::writer::Writer;
use super::{Entry, LogId, RaftError, TypeConfig, Vote, cant_read, cant_write, encode};
use crate::files::{CommittedHint, Dir};
use crate::segment::SegmentReader;
use crate::timings::Stage;

pub(crate) const VOTE: &str = "vote";
pub(crate) const PURGED: &str = "purged";

/// Raft's log. Cheap to clone; all clones are one log.
#[derive(Clone)]
pub(crate) struct LogStorage {
    dir: Arc<Dir>,
    replica: ReplicaId,
    writer: Writer,
    pub(super) reader: SegmentReader,
    newest: Arc<Mutex<Newest>>,
    flushed: Arc<watch::Sender<Flushed>>,
    /// How far the snapshot goes that the state was last taken from.
    in_snapshots: Arc<watch::Sender<Flushed>>,
    stopwatch: Stopwatch,
    committed: Arc<Mutex<Committed>>,
    _held: Option<TaskTrackerToken>,
}

/// How far the log is known to be committed.
struct Committed {
    hint: CommittedHint<LogId>,
    last: Option<LogId>,
}

impl LogStorage {
    pub(crate) fn open(
        dir: Arc<Dir>,
        replica: ReplicaId,
        writer: Writer,
        reader: SegmentReader,
    ) -> Result<Self, RaftError> {
        let Ends { purged, last, vote } = Ends::read(&dir, &reader)?;
        let newest = Newest::new(last, purged, no_longer_leading(vote, replica));
        let flushed = Flushed::Upto(reader.bounds().end.saturating_sub(1));
        let (hint, known) = CommittedHint::open(&dir).map_err(cant_read)?;
        // Never beyond what is there: the hint was not flushed with the log.
        let committed = Committed {
            hint,
            last: known.min(last),
        };
        Ok(Self {
            dir,
            replica,
            writer,
            reader,
            newest: Arc::new(Mutex::new(newest)),
            flushed: Arc::new(watch::Sender::new(flushed)),
            in_snapshots: Arc::new(watch::Sender::new(Flushed::Upto(0))),
            stopwatch: Stopwatch::default(),
            committed: Arc::new(Mutex::new(committed)),
            _held: None,
        })
    }

    /// The same log. Whoever waits for the token's tasks waits until this clone, and all clones of it, are dropped.
    pub(crate) fn held(self, token: TaskTrackerToken) -> Self {
        let _held = Some(token);
        Self { _held, ..self }
    }

    /// The first index that a purge left, to open the segments with.
    pub(crate) fn first(dir: &Dir) -> Result<u64, RaftError> {
        let purged: Option<LogId> = dir.read(PURGED).map_err(cant_read)?;
        Ok(purged.map_or(0, |purged| purged.index + 1))
    }

    /// The first entry that can be read; the one to come when there is none.
    pub(crate) fn first_index(&self) -> u64 {
        self.reader.bounds().start
    }

    /// An entry from which on the log has at most about `bytes`; see [`SegmentReader::first_of_last`].
    pub(crate) fn first_of_last(&self, bytes: u64) -> u64 {
        self.reader.first_of_last(bytes)
    }

    /// These entries came from the leader in this form, and are about to be appended: they are stored as they came, and
    /// not encoded again. Those that came before them are forgotten.
    pub(crate) fn note_arrived(&self, entries: Vec<(LogId, Bytes)>) {
        self.lock().arrived = entries.into();
    }

    /// History has taken in the entries up to this one: they need not be at hand any longer.
    pub(crate) fn note_sealed(&self, upto: u64) {
        let forgotten = self.lock().sealed(upto);
        drop(forgotten);
    }

    /// An entry of this log as it is stored.
    pub(crate) fn stored_form(&self, entry: &Entry) -> Result<Bytes, StoredError> {
        let known = self.lock().stored(entry.log_id);
        known.map_or_else(|| encode(entry), Ok)
    }

    /// The last entry that this replica has, or had before what came after it was purged into a snapshot.
    pub(crate) fn last(&self) -> Option<LogId> {
        let newest = self.lock();
        newest.last.max(newest.purged)
    }

    /// Whether the log once held more than it does now, at its beginning.
    pub(crate) fn was_purged(&self) -> bool {
        self.lock().purged.is_some()
    }

    pub(crate) fn writer(&self) -> &Writer {
        &self.writer
    }

    /// Times the entries that this replica proposes.
    pub(crate) fn stopwatch(&self) -> &Stopwatch {
        &self.stopwatch
    }

    /// Whether the entry at `index` is on this replica's disk.
    pub(crate) fn is_flushed(&self, index: u64) -> bool {
        matches!(*self.flushed.borrow(), Flushed::Upto(upto) if upto >= index)
    }

    /// Resolves once the entry at `index` is on this replica's disk.
    pub(crate) async fn flushed(&self, index: u64) -> Result<(), NotFlushed> {
        reached(&self.flushed, index).await
    }

    /// Resolves once all that was appended so far is on this replica's disk.
    pub(crate) async fn all_flushed(&self) -> Result<(), NotFlushed> {
        let last = self.lock().last.map_or(0, |last| last.index);
        self.flushed(last).await
    }

    /// Notes how far the log is committed, and applied here. Into the page cache, not to the disk: it does not
    /// block.
    pub(crate) fn note_committed(&self, committed: LogId) -> Result<(), RaftError> {
        let mut known = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        known.last = Some(committed);
        let written = known.hint.write(&committed);
        self.dir.disk().or_leave(written).map_err(cant_write)
    }

    /// Nothing up to `upto` is read any more: a snapshot that came from the leader holds it. What this replica has there
    /// may never have been committed, and Raft purges it only later, so it must not pass for what is applied.
    pub(crate) fn covered_by_snapshot(&self, upto: u64) {
        let mut newest = self.lock();
        newest.keep_only(upto + 1..);
        self.reader.leave_out(upto);
    }

    /// The last entry that is known to be committed, and to have been applied here.
    fn applied(&self) -> Option<LogId> {
        self.committed.lock().unwrap_or_else(PoisonError::into_inner).last
    }

    /// A snapshot that goes up to this entry, and came from the leader or was there before, is on the disk.
    pub(crate) fn in_snapshot(&self, upto: u64) {
        self.in_snapshots.send_if_modified(|now| match now {
            Flushed::Upto(known) if *known < upto => {
                *known = upto;
                true
            }
            Flushed::Upto(_) | Flushed::Failed => false,
        });
    }

    /// A snapshot that came from the leader will never be on the disk: what waits for it ends.
    pub(crate) fn snapshot_failed(&self) {
        self.in_snapshots.send_replace(Flushed::Failed);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Newest> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Resolves once all up to `index` is on the disk.
async fn reached(known: &watch::Sender<Flushed>, index: u64) -> Result<(), NotFlushed> {
    let mut known = known.subscribe();
    let reached = known.wait_for(|now| match now {
        Flushed::Upto(upto) => *upto >= index,
        Flushed::Failed => true,
    });
    match reached.await.as_deref() {
        Ok(Flushed::Upto(_)) => Ok(()),
        Ok(Flushed::Failed) | Err(_) => Err(NotFlushed),
    }
}

/// How many commands the entries carry.
fn commands(entries: &[Entry]) -> usize {
    let of_entry = |entry: &Entry| match &entry.payload {
        EntryPayload::Normal(batch) => batch.records.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    };
    entries.iter().map(of_entry).sum()
}

impl RaftLogStorage<TypeConfig> for LogStorage {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, RaftError> {
        let newest = self.lock();
        Ok(LogState {
            last_purged_log_id: newest.purged,
            last_log_id: newest.last,
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), RaftError> {
        let (dir, vote) = (Arc::clone(&self.dir), *vote);
        let saved = tokio::task::spawn_blocking(move || dir.disk().hold(|| dir.replace(VOTE, &vote)));
        saved.await.map_err(cant_write)?.map_err(cant_write)?;
        self.lock().vote = Some(vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, RaftError> {
        Ok(self.lock().vote)
    }

    /// Noted by the state machine instead, once what is committed is also flushed here.
    async fn save_committed(&mut self, _: Option<LogId>) -> Result<(), RaftError> {
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, RaftError> {
        Ok(self.applied())
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<TypeConfig>) -> Result<(), RaftError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut payloads = Vec::new();
        let mut first = None;
        let mut at_once = true;
        let entries: Vec<Entry> = entries.into_iter().collect();
        self.stopwatch.came_through(Stage::Append, &entries, false);
        let (began, commands) = (Instant::now(), commands(&entries));
        {
            let mut newest = self.lock();
            let purged = newest.purged.map_or(0, |purged| purged.index + 1);
            let vote = newest.vote;
            // What was purged is in a snapshot: appending it again changes nothing.
            for entry in entries.into_iter().filter(|entry| entry.log_id.index >= purged) {
                let payload = match newest.take_arrived(entry.log_id) {
                    Some(arrived) => arrived,
                    None => encode(&entry).map_err(cant_write)?,
                };
                first.get_or_insert(entry.log_id.index);
                at_once &= may_go_ahead(&entry, vote, self.replica);
                newest.last = Some(*entry.get_log_id());
                newest.keep(entry, payload.clone());
                payloads.push(payload);
            }
        }
        let Some(first) = first else {
            callback.log_io_completed(Ok(()));
            return Ok(());
        };
        let last = first + payloads.len() as u64 - 1;
        let mut callback = Some(callback);
        if at_once && let Some(callback) = callback.take() {
            callback.log_io_completed(Ok(()));
        }
        let (newest, flushed) = (Arc::clone(&self.newest), Arc::clone(&self.flushed));
        let timings = at_once.then(|| self.stopwatch.timings.clone());
        let done = move |written: std::io::Result<()>| {
            let now = match written {
                Ok(()) => Flushed::Upto(last),
                Err(_) => Flushed::Failed,
            };
            flushed.send_replace(now);
            if let Some(timings) = timings {
                timings.record(Stage::Flush, began.elapsed(), commands);
            }
            // Dropped last: there may be much in it, and others wait to hear of the flush.
            let _forgotten = (now != Flushed::Failed).then(|| {
                let newest = newest.lock();
                newest.unwrap_or_else(PoisonError::into_inner).forget(last)
            });
            if let Some(callback) = callback {
                callback.log_io_completed(written);
            }
        };
        self.writer
            .append(first, payloads, Box::new(done))
            .await
            .map_err(cant_write)
    }

    async fn truncate(&mut self, since: LogId) -> Result<(), RaftError> {
        let before = match since.index.checked_sub(1) {
            Some(before) => self
                .entries(before, since.index, usize::MAX)
                .await?
                .pop()
                .map(|entry| entry.log_id),
            None => None,
        };
        self.writer.truncate(since.index).await.map_err(cant_write)?;
        let mut newest = self.lock();
        newest.keep_only(..since.index);
        self.flushed.send_if_modified(|now| match now {
            Flushed::Upto(upto) if *upto >= since.index => {
                *upto = since.index.saturating_sub(1);
                true
            }
            Flushed::Upto(_) | Flushed::Failed => false,
        });
        newest.last = before.or(newest.purged);
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), RaftError> {
        // What is applied Raft purges once it has a snapshot of it. Beyond that it does so while the state machine still
        // writes the snapshot that came from the leader: were the power lost before that is there, nothing on this disk
        // would hold what is purged.
        let applied = self.applied();
        if applied.is_none_or(|applied| applied.index < upto.index) {
            reached(&self.in_snapshots, upto.index)
                .await
                .map_err(cant_write)?;
        }
        // First the note, then the files: what is noted as purged may still be there, not the reverse.
        let dir = Arc::clone(&self.dir);
        let noted = tokio::task::spawn_blocking(move || dir.disk().hold(|| dir.replace(PURGED, &upto)));
        noted.await.map_err(cant_write)?.map_err(cant_write)?;
        self.writer.purge(upto.index).await.map_err(cant_write)?;
        let mut newest = self.lock();
        newest.keep_only(upto.index + 1..);
        newest.purged = newest.purged.max(Some(upto));
        self.flushed.send_if_modified(|now| match now {
            Flushed::Upto(flushed) if *flushed < upto.index => {
                *flushed = upto.index;
                true
            }
            Flushed::Upto(_) | Flushed::Failed => false,
        });
        // By its index: an entry before it that was never committed may be of a later term.
        newest.last = newest.last.filter(|last| last.index > upto.index).or(Some(upto));
        Ok(())
    }
}
