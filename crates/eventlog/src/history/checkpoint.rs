//! States of the past, beside the history that they were folded from: so that the state at any event is the fold of a
//! few thousand records.
//!
//! Made of the present as it passes, and of sealed history where there are none, in its own time: nothing depends on
//! them but speed. A checkpoint is a snapshot's file without the outcomes of commands, which only the present needs.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use chv_domain::{Projection, Seq};

use super::error::HistoryError;
use super::pace::checkpoints_apart;
use super::store::History;
use crate::files::{self, Haste};
use crate::raft::snapshot::State;
use crate::raft::snapshot_file::{self, LastWritten, SnapshotError};

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
        // It reads, in the program that wrote it.
        Err(error @ SnapshotError::Version(_)) => Err(io::Error::other(error)),
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
    /// Where the last one is, and how many VMs it has.
    last: Option<(Seq, u64)>,
    /// The state there, while they are made of history.
    fold: Option<Projection>,
    /// What was written last, here or as a snapshot.
    written: LastWritten,
}

impl Checkpoints {
    pub(crate) fn new(history: History, every: u64, written: LastWritten) -> Self {
        Self {
            history,
            every,
            last: None,
            fold: None,
            written,
        }
    }

    /// The history that they are made from.
    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    /// Makes the next checkpoint, if one is due; whether there may be more to make. `now` is the present state: one is
    /// made of it when it is the next, and of history when there is more than one to make.
    pub(crate) fn step(&mut self, now: &Projection) -> Result<bool, CheckpointError> {
        let Some(span) = *self.history.span().borrow() else {
            return Ok(false);
        };
        let last = match self.last {
            Some(last) => last,
            None => {
                let state = self.begin(span.oldest, span.newest, now)?;
                end(self.fold.insert(state))
            }
        };
        self.last = Some(last);
        let (last, vms) = last;
        let spacing = checkpoints_apart(vms, self.every);
        let due = Seq(last.0.saturating_add(spacing));
        if (due..Seq(due.0.saturating_add(spacing))).contains(&now.seq()) {
            write(self.history.dir(), &now.clone().without_outcomes(), &self.written)?;
            (self.last, self.fold) = (Some(end(now)), None);
            return Ok(false);
        }
        if span.newest < due {
            return Ok(false);
        }
        let begun = match self.fold.take() {
            Some(state) => state,
            None => self.begin(span.oldest, last, now)?,
        };
        let state = self.folded(begun, due)?;
        write(self.history.dir(), &state, &LastWritten::default())?;
        self.last = Some(end(&state));
        self.fold = Some(state);
        Ok(true)
    }

    /// `state` with history folded in, up to the record with the event `due`.
    fn folded(&self, mut state: Projection, due: Seq) -> Result<Projection, CheckpointError> {
        while state.seq() < due {
            let records = self.history.records(state.seq().next(), PAGE, usize::MAX)?;
            let upto = records.partition_point(|record| record.first <= due);
            if upto == 0 || state.replay(&records[..upto]) < upto {
                return Err(CheckpointError::Broken(state.seq()));
            }
        }
        Ok(state.without_outcomes())
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
        write(dir, &state.without_outcomes(), &LastWritten::default())
    }

    /// The state to go on from.
    fn begin(&self, oldest: Seq, newest: Seq, now: &Projection) -> Result<Projection, CheckpointError> {
        let dir = self.history.dir();
        let found = at_or_before(&self.history, newest).map_err(|source| CheckpointError::File {
            path: dir.to_owned(),
            source: source.into(),
        })?;
        match found {
            Some(state) if state.seq().next() >= oldest => Ok(state),
            _ if oldest == Seq(1) => Ok(Projection::default()),
            _ => {
                let state = now.clone().without_outcomes();
                write(dir, &state, &self.written)?;
                Ok(state)
            }
        }
    }
}

/// Makes the checkpoint of this state in `dir`, which takes over what it can from `last`. A state that was folded from history
/// shares nothing with the present: it neither takes over from what was written of that, nor is kept for what will be.
pub(crate) fn write(dir: &Path, projection: &Projection, last: &LastWritten) -> Result<(), CheckpointError> {
    let (aside, path) = (dir.join("checkpoint.new"), path(dir, projection.seq()));
    let state = State {
        projection: projection.clone(),
        ..State::default()
    };
    let write = || {
        let file = files::empty(&aside)?;
        snapshot_file::write(&file, &state, last, &Haste::default())?;
        std::fs::rename(&aside, &path)?;
        Ok(())
    };
    // The directory need not be flushed: what is lost is made again.
    write().map_err(|source| CheckpointError::File {
        path: path.clone(),
        source,
    })
}

/// Whether there is one at `at`. Blocks.
pub(crate) fn is_there(history: &History, at: Seq) -> bool {
    path(history.dir(), at).exists()
}

/// Makes the file at `from` the checkpoint at `at`. Blocks.
pub(crate) fn take_over(history: &History, from: &Path, at: Seq) -> io::Result<()> {
    std::fs::rename(from, path(history.dir(), at))
}

/// A part of a checkpoint's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointPiece {
    /// The event of its state.
    pub seq: Seq,
    /// SHA-256 of the file, as its end tells it.
    pub digest: [u8; 32],
    /// Bytes of the file.
    pub size: u64,
    /// Its bytes from the wanted offset on.
    pub data: Vec<u8>,
}

/// At most `room` bytes from `offset` on of the checkpoint at `at`; from the beginning, where that is another file than the
/// one with this digest. `None` where there is none. Blocks.
pub(crate) fn piece(
    history: &History,
    at: Seq,
    digest: &[u8],
    offset: u64,
    room: u64,
) -> io::Result<Option<CheckpointPiece>> {
    let file = match File::open(path(history.dir(), at)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let Ok(found) = snapshot_file::digest(&file) else {
        return Ok(None);
    };
    let offset = if *digest == found { offset } else { 0 };
    let size = file.metadata()?.len();
    let mut data = vec![0; size.saturating_sub(offset).min(room) as usize];
    file.read_exact_at(&mut data, offset)?;
    Ok(Some(CheckpointPiece {
        seq: at,
        digest: found,
        size,
        data,
    }))
}

/// The file of the checkpoint with the fewest events in `dir`, of those at or after `seq`, and its bytes; `None` without
/// one. Blocks.
pub(crate) fn oldest_from(dir: &Path, seq: Seq) -> io::Result<Option<(PathBuf, Vec<u8>)>> {
    let Some(at) = seqs(dir)?.into_iter().find(|at| *at >= seq) else {
        return Ok(None);
    };
    let path = path(dir, at);
    let bytes = std::fs::read(&path)?;
    Ok(Some((path, bytes)))
}

/// Where a state is, and how many VMs it has.
fn end(state: &Projection) -> (Seq, u64) {
    (state.seq(), u64::try_from(state.vm_count()).unwrap_or(u64::MAX))
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
mod tests;
