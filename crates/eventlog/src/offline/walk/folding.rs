//! The fold of a directory's records where the log alone does not begin with the first event: from the first sealed event
//! on, or, where history was forgotten, from the checkpoint before what is kept, its base.

use std::path::{Path, PathBuf};

use chv_domain::{Batch, BatchOutcome, Projection, Record, Seq};

use crate::history::checkpoint;
use crate::offline::finding::{Finding, FindingKind};
use crate::offline::snapshots;
use crate::raft::snapshot_file;

/// The state that the records came to, and what it began with.
#[derive(Debug, Default)]
pub(super) struct Folding {
    /// Where checkpoints are.
    history: PathBuf,
    begun: bool,
    /// What the fold begins with once the records have come to it.
    base: Option<Projection>,
    /// The event of the base, once it began with that.
    from_base: Option<Seq>,
    state: Option<Projection>,
}

impl Folding {
    pub(super) fn of(history: &Path) -> Self {
        Self {
            history: history.to_owned(),
            ..Self::default()
        }
    }

    /// The event of the state that the fold began with, where that is no event of these records.
    pub(super) fn base(&self) -> Option<Seq> {
        self.from_base
    }

    /// The state that all records from the first event on led to.
    pub(super) fn whole(self) -> Option<Projection> {
        self.state.filter(|_| self.from_base.is_none())
    }

    /// Begins with what `first`, the first record of all, goes on from.
    pub(super) fn begin(&mut self, first: &Record) -> Result<(), Finding> {
        if std::mem::replace(&mut self.begun, true) {
            return Ok(());
        }
        if first.first == Seq(1) {
            self.state = Some(Projection::default());
            return Ok(());
        }
        let found = checkpoint::oldest_from(&self.history, Seq(first.first.0 - 1));
        let found =
            found.map_err(|error| Finding::new(FindingKind::Unreadable, &self.history, error.to_string()))?;
        // A replica that was away has none before it was fetched.
        let Some((file, bytes)) = found else { return Ok(()) };
        let state = snapshot_file::parse(&bytes)
            .map_err(|error| Finding::new(snapshots::kind(&error), &file, error.to_string()))?;
        self.base = Some(state.projection);
        Ok(())
    }

    /// Folds a record in where the fold has come to it: the state then.
    pub(super) fn go_on(&mut self, path: &Path, record: &Record) -> Result<Option<&Projection>, Finding> {
        let wrong = |what: &str| {
            let what = format!("the record of event {} {what}", record.first);
            Finding::new(FindingKind::Contradiction, path, what).before(Some(record.first))
        };
        if let Some(base) = self.base.take_if(|base| base.seq().next() == record.first) {
            if base.hash() != record.prev {
                return Err(wrong("does not go on from the checkpoint before it"));
            }
            self.from_base = Some(base.seq());
            self.state = Some(base);
        }
        let Some(state) = self
            .state
            .as_mut()
            .filter(|state| state.seq().next() == record.first)
        else {
            return Ok(None);
        };
        let batch = Batch {
            published: Seq::ZERO,
            records: vec![record.clone()],
        };
        match state.apply_batch(record.term, &batch) {
            BatchOutcome::Dropped => Err(wrong("does not continue the chain")),
            BatchOutcome::Applied { .. } => Ok(Some(state)),
        }
    }
}
