//! The state machine: the projection, and who is told when it moves.

use chv_domain::{Batch, BatchOutcome, Projection, Seq, Term};
use openraft::storage::RaftStateMachine;
use openraft::{AnyError, EntryPayload, OptionalSend, Snapshot, StorageIOError};
use tokio::sync::watch;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::foreseen::Foreseen;
use super::log_storage::LogStorage;
use super::snapshot::{Builder, Meta, Origin, Snapshots, State};
use super::snapshot_file;
use super::{Entry, LogId, Membership, RaftError, TypeConfig};
use crate::index::Mark;
use crate::timings::Stage;

/// States with fewer VMs are folded again in a debug build, to be compared.
const FEW: usize = 256;

/// What applying tells the rest of the replica.
#[derive(Clone)]
pub(crate) struct Applied {
    /// The state, replaced after every batch of entries.
    pub(crate) projection: watch::Sender<Projection>,
    /// Its last event.
    pub(crate) seq: watch::Sender<Seq>,
    /// The last entry that was applied.
    pub(crate) entry: watch::Sender<Option<LogId>>,
    /// Where the snapshot ends that the state was last taken from; the log may not reach back before it.
    pub(crate) base: watch::Sender<Mark>,
}

impl Applied {
    fn tell(&self, state: &State) {
        self.projection.send_replace(state.projection.clone());
        self.entry.send_replace(state.applied);
        // Last: who waits for a seq then reads the log, as far as its entries are known to be applied.
        self.seq.send_replace(state.projection.seq());
    }

    /// As [`Self::tell`], of a state that came from a snapshot.
    fn tell_from_snapshot(&self, state: &State) {
        self.base.send_replace(Mark {
            entry: state.applied.map_or(0, |applied| applied.index),
            seq: state.projection.seq(),
            hash: state.projection.hash(),
        });
        self.tell(state);
    }
}

/// The state machine.
pub(crate) struct StateMachine {
    state: State,
    snapshots: Snapshots,
    /// Whose entries are applied.
    log: Option<LogStorage>,
    applied: Applied,
    foreseen: Foreseen,
    held: Option<TaskTrackerToken>,
}

impl StateMachine {
    /// From `state`, that of the newest snapshot; the log is replayed onto it.
    pub(crate) fn new(state: State, snapshots: Snapshots, log: Option<LogStorage>) -> Self {
        let applied = Applied {
            projection: watch::Sender::new(Projection::default()),
            seq: watch::Sender::new(Seq::ZERO),
            entry: watch::Sender::new(None),
            base: watch::Sender::new(Mark::default()),
        };
        applied.tell_from_snapshot(&state);
        if let (Some(last), Some(log)) = (state.applied, &log) {
            log.in_snapshot(last.index);
        }
        Self {
            state,
            snapshots,
            log,
            applied,
            foreseen: Foreseen::default(),
            held: None,
        }
    }

    /// Whoever waits for the token's tasks waits until this, and every snapshot that it has made, is done.
    pub(crate) fn held(self, token: TaskTrackerToken) -> Self {
        let log = self.log.map(|log| log.held(token.clone()));
        let held = Some(token);
        Self { log, held, ..self }
    }

    pub(crate) fn snapshots(&self) -> Snapshots {
        self.snapshots.clone()
    }

    pub(crate) fn applied(&self) -> Applied {
        self.applied.clone()
    }

    /// Where the states are noted that entries decided here lead to.
    pub(crate) fn foreseen(&self) -> Foreseen {
        self.foreseen.clone()
    }
}

/// Folds a batch in, or takes over the state that it led to where it was decided.
fn fold(state: &mut Projection, term: Term, batch: &Batch, decided: Option<Projection>) -> BatchOutcome {
    let Some(decided) = decided else {
        return state.apply_batch(term, batch);
    };
    let before = cfg!(debug_assertions).then(|| state.clone());
    let outcome = state.apply_decided(term, batch, decided);
    if let Some(mut folded) = before.filter(|before| before.vm_count() < FEW) {
        debug_assert_eq!(folded.apply_batch(term, batch), outcome);
        debug_assert!(
            folded == *state,
            "what was decided on is not what its records fold to"
        );
    }
    outcome
}

fn cant(error: impl std::error::Error + 'static) -> RaftError {
    StorageIOError::write_state_machine(AnyError::new(&error)).into()
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), RaftError> {
        Ok((self.state.applied, self.state.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Option<BatchOutcome>>, RaftError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        // Committed may mean: on the disks of others. What shows from here on is on this one's too.
        if let (Some(last), Some(log)) = (entries.last(), &self.log) {
            log.stopwatch().came_through(Stage::Replicate, &entries, false);
            log.flushed(last.log_id.index).await.map_err(cant)?;
            log.note_committed(last.log_id)?;
        }
        let mut answers = Vec::with_capacity(entries.len());
        for entry in &entries {
            self.state.applied = Some(entry.log_id);
            answers.push(match &entry.payload {
                EntryPayload::Blank => None,
                EntryPayload::Membership(membership) => {
                    self.state.membership = Membership::new(Some(entry.log_id), membership.clone());
                    None
                }
                EntryPayload::Normal(batch) => {
                    let term = Term(entry.log_id.leader_id.term);
                    Some(fold(
                        &mut self.state.projection,
                        term,
                        batch,
                        self.foreseen.take(batch),
                    ))
                }
            });
        }
        self.applied.tell(&self.state);
        if let Some(log) = &self.log {
            log.stopwatch().came_through(Stage::Apply, &entries, true);
        }
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            snapshots: self.snapshots.clone(),
            state: self.state.clone(),
            _held: self.held.clone(),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<tokio::fs::File>, RaftError> {
        Ok(Box::new(self.snapshots.incoming().await.map_err(cant)?))
    }

    async fn install_snapshot(
        &mut self,
        meta: &Meta,
        snapshot: Box<tokio::fs::File>,
    ) -> Result<(), RaftError> {
        let (snapshots, meta) = (self.snapshots.clone(), meta.clone());
        let mut file = snapshot.into_std().await;
        let installed = tokio::task::spawn_blocking(move || {
            let mut state = snapshot_file::read(&mut file).map_err(cant)?;
            state.applied = meta.last_log_id;
            state.membership = meta.last_membership;
            let write = || snapshots.write(&state, Origin::Received);
            snapshots.disk().hold(write).map_err(cant)?;
            Ok::<_, RaftError>(state)
        });
        let installed = installed.await.map_err(cant).flatten();
        if let (Err(_), Some(log)) = (&installed, &self.log) {
            log.snapshot_failed();
        }
        self.state = installed?;
        if let (Some(last), Some(log)) = (self.state.applied, &self.log) {
            log.covered_by_snapshot(last.index);
            log.in_snapshot(last.index);
        }
        self.applied.tell_from_snapshot(&self.state);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>, RaftError> {
        let snapshots = self.snapshots.clone();
        let newest = tokio::task::spawn_blocking(move || snapshots.newest_file())
            .await
            .map_err(cant)?
            .map_err(cant)?;
        Ok(newest.map(|(meta, file)| Snapshot {
            meta,
            snapshot: Box::new(tokio::fs::File::from_std(file)),
        }))
    }
}
