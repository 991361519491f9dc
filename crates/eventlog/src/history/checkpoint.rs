//! States of the past, beside the history that they were folded from: so that the state at any event is the fold of a
//! few thousand records.
//!
//! Made from sealed history alone, in its own time, and made again when one is lost: nothing depends on them but
//! speed. A checkpoint is a snapshot's file without the outcomes of commands, which only the present needs.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use chv_domain::{Batch, BatchOutcome, Projection, Seq};

use super::error::HistoryError;
use super::pace::Weight;
use super::store::History;
use crate::raft::snapshot::State;
use crate::raft::snapshot_file::{self, SnapshotError};

const SUFFIX: &str = ".checkpoint";

/// How many records are folded at a time.
const PAGE: usize = 1024;

/// Why a checkpoint is not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckpointError {
    /// Its file.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: SnapshotError,
    },
    /// The history that it is made from.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The history does not continue what was folded.
    #[error("the records after event {0} do not follow the state there")]
    Broken(Seq),
}

/// The checkpoint with the most events up to `seq`. One that does not read is removed, to be made again. Blocks.
pub(crate) fn at_or_before(history: &History, seq: Seq) -> io::Result<Option<Projection>> {
    while let Some(at) = newest(history, seq)? {
        if let Some(state) = read(history, at)? {
            return Ok(Some(state));
        }
    }
    Ok(None)
}

/// The event of the checkpoint with the most events up to `seq`. Blocks.
pub(crate) fn newest(history: &History, seq: Seq) -> io::Result<Option<Seq>> {
    Ok(seqs(history.dir())?.into_iter().rev().find(|at| *at <= seq))
}

/// The checkpoint at an event; `None` when it does not read: then it is removed, to be made again. Blocks.
pub(crate) fn read(history: &History, at: Seq) -> io::Result<Option<Projection>> {
    let path = path(history.dir(), at);
    let read = File::open(&path)
        .map_err(SnapshotError::from)
        .and_then(|mut file| snapshot_file::read(&mut file));
    match read {
        Ok(state) => Ok(Some(state.projection)),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a checkpoint does not read; it is made again");
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                Ok(()) | Err(_) => Ok(None),
            }
        }
    }
}

/// Removes those that no kept event needs: all that are older than the newest one before `oldest`.
pub(crate) fn trim(history: &History, oldest: Seq) -> io::Result<()> {
    let mut before = seqs(history.dir())?;
    before.retain(|at| *at < oldest);
    // The state before the first kept event.
    before.pop();
    before
        .iter()
        .try_for_each(|at| std::fs::remove_file(path(history.dir(), *at)))
}

/// Makes checkpoints while history grows.
pub(crate) struct Checkpoints {
    history: History,
    /// Events from one to the next, at the least.
    every: u64,
    /// The fold so far, and where the last checkpoint is.
    at: Option<(Projection, Seq)>,
}

impl Checkpoints {
    pub(crate) fn new(history: History, every: u64) -> Self {
        Self {
            history,
            every,
            at: None,
        }
    }

    /// The history that they are made from.
    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    /// Makes the next checkpoint, if history has come that far; whether there may be more to make. `now` is the present
    /// state, to begin with where the history before is not here.
    pub(crate) fn step(&mut self, now: &Projection) -> Result<bool, CheckpointError> {
        let Some(span) = *self.history.span().borrow() else {
            return Ok(false);
        };
        let (mut state, last) = match self.at.take() {
            Some(at) => at,
            None => self.begin(span.oldest, span.newest, now)?,
        };
        let due = Seq(last.0 + Weight::of(&state).spread_over(self.every));
        if span.newest < due {
            self.at = Some((state, last));
            return Ok(false);
        }
        while state.seq() < due {
            let records = self.history.records(state.seq().next(), PAGE, usize::MAX)?;
            if records.is_empty() {
                return Err(CheckpointError::Broken(state.seq()));
            }
            for record in records {
                let term = record.term;
                let batch = Batch {
                    published: Seq::ZERO,
                    records: vec![record],
                };
                if state.apply_batch(term, &batch) == BatchOutcome::Dropped {
                    return Err(CheckpointError::Broken(state.seq()));
                }
                if state.seq() >= due {
                    break;
                }
            }
        }
        let state = state.without_outcomes();
        self.write(&state)?;
        let last = state.seq();
        self.at = Some((state, last));
        Ok(true)
    }

    /// Makes one at exactly `seq`, unless there is one: for a state of what is kept after it, nothing before it is
    /// needed then.
    pub(crate) fn make_at(&self, seq: Seq) -> Result<(), CheckpointError> {
        let dir = self.history.dir();
        if path(dir, seq).exists() {
            return Ok(());
        }
        let found = at_or_before(&self.history, seq).map_err(|source| CheckpointError::File {
            path: dir.to_owned(),
            source: source.into(),
        })?;
        let mut state = found.unwrap_or_default();
        while state.seq() < seq {
            let mut records = self.history.records(state.seq().next(), PAGE, usize::MAX)?;
            records.retain(|record| record.last() <= seq);
            if records.is_empty() || state.replay(&records) < records.len() {
                return Err(CheckpointError::Broken(state.seq()));
            }
        }
        self.write(&state.without_outcomes())
    }

    /// The state to go on from.
    fn begin(
        &self,
        oldest: Seq,
        newest: Seq,
        now: &Projection,
    ) -> Result<(Projection, Seq), CheckpointError> {
        let dir = self.history.dir();
        let found = at_or_before(&self.history, newest).map_err(|source| CheckpointError::File {
            path: dir.to_owned(),
            source: source.into(),
        })?;
        let state = match found {
            Some(state) if state.seq().next() >= oldest => state,
            _ if oldest == Seq(1) => Projection::default(),
            _ => {
                let state = now.clone().without_outcomes();
                self.write(&state)?;
                state
            }
        };
        let seq = state.seq();
        Ok((state, seq))
    }

    fn write(&self, projection: &Projection) -> Result<(), CheckpointError> {
        let dir = self.history.dir();
        let (aside, path) = (dir.join("checkpoint.new"), path(dir, projection.seq()));
        let state = State {
            projection: projection.clone(),
            ..State::default()
        };
        let write = || {
            let file = File::create(&aside)?;
            snapshot_file::write(&file, &state)?;
            std::fs::rename(&aside, &path)?;
            Ok(())
        };
        // The directory need not be flushed: what is lost is made again.
        write().map_err(|source| CheckpointError::File {
            path: path.clone(),
            source,
        })
    }
}

fn path(dir: &Path, seq: Seq) -> PathBuf {
    dir.join(format!("{:020}{SUFFIX}", seq.0))
}

/// The events that there are checkpoints at, in order.
fn seqs(dir: &Path) -> io::Result<Vec<Seq>> {
    let mut seqs = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
        seqs.extend(digits.and_then(|digits| digits.parse().ok()).map(Seq));
    }
    seqs.sort_unstable();
    Ok(seqs)
}

#[cfg(test)]
mod tests {
    use chv_domain::{Record, RecordHash};

    use super::super::format::samples::{CLUSTER, chain, sealed};
    use super::*;

    fn all(checkpoints: &mut Checkpoints) {
        while checkpoints.step(&Projection::default()).unwrap() {}
    }

    /// The fold of all `records`.
    fn folded(records: &[Record]) -> Projection {
        let mut state = Projection::default();
        for record in records {
            let records = vec![record.clone()];
            let batch = Batch {
                published: Seq::ZERO,
                records,
            };
            assert_ne!(state.apply_batch(record.term, &batch), BatchOutcome::Dropped);
        }
        state.without_outcomes()
    }

    #[test]
    fn checkpoints_follow_history_also_after_a_restart_and_are_made_again_when_damaged() {
        let temp = tempfile::tempdir().unwrap();
        let records = chain(Seq(1), RecordHash::ZERO, &[(1, 100); 60]);
        let history = History::open(temp.path(), CLUSTER).unwrap();
        let mut checkpoints = Checkpoints::new(history.clone(), 8);
        all(&mut checkpoints);
        for file in records.chunks(20) {
            history.add(&sealed(file)).unwrap();
            all(&mut checkpoints);
            checkpoints = Checkpoints::new(history.clone(), 8);
        }
        let expected: Vec<Seq> = (1..=7).map(|at| Seq(at * 8)).collect();
        assert_eq!(seqs(temp.path()).unwrap(), expected);
        let at = |seq| at_or_before(&history, Seq(seq)).unwrap();
        assert_eq!(at(7), None);
        assert_eq!(at(30), Some(folded(&records[..24])));

        let damaged = path(temp.path(), Seq(24));
        std::fs::write(&damaged, b"junk").unwrap();
        assert_eq!(at(30), Some(folded(&records[..16])));

        trim(&history, Seq(33)).unwrap();
        assert_eq!(seqs(temp.path()).unwrap(), [32, 40, 48, 56].map(Seq));
        // Between two, as retention needs it.
        checkpoints.make_at(Seq(45)).unwrap();
        trim(&history, Seq(46)).unwrap();
        assert_eq!(seqs(temp.path()).unwrap(), [45, 48, 56].map(Seq));
        assert_eq!(at(47), Some(folded(&records[..45])));
    }
}
