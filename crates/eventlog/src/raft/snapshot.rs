//! Snapshots: the whole projection and how far it goes, each in a file of the form of [`snapshot_file`].

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use chv_domain::Projection;
use openraft::{RaftSnapshotBuilder, Snapshot, SnapshotMeta, StorageIOError};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::snapshot_file::{self, LastWritten, SnapshotError};
use super::{LogId, Membership, RaftError, TypeConfig};
use crate::files::{self, Dir, Disk, Haste};
use crate::history::lower_priority;

pub(crate) type Meta = SnapshotMeta<u64, openraft::BasicNode>;

/// The lowest priority that there is.
const NICEST: i32 = 19;

/// How many snapshots are kept; the older one is for when the newer one turns out to be damaged.
const KEPT: usize = 2;

const SUFFIX: &str = ".snapshot";

/// All that a replica knows at one point of the log.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    pub(crate) applied: Option<LogId>,
    pub(crate) membership: Membership,
    pub(crate) projection: Projection,
}

impl State {
    /// What Raft wants to know of a snapshot of this.
    pub(crate) fn meta(&self) -> Meta {
        let id = self.applied.map_or_else(
            || "0".to_owned(),
            |applied| format!("{}-{}", applied.leader_id, applied.index),
        );
        Meta {
            last_log_id: self.applied,
            last_membership: self.membership.clone(),
            snapshot_id: id,
        }
    }
}

/// Where a snapshot is from. Raft lets one of each be written at the same time, so each has a file of its own meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// This replica's state.
    Built,
    /// The leader's, or an archive.
    Received,
}

impl Origin {
    /// Raft does nothing else until one from the leader is there.
    fn haste(self) -> Haste {
        match self {
            Self::Built => Haste::default(),
            Self::Received => Haste::now(),
        }
    }

    /// The name of the file until it is whole.
    const fn aside(self) -> &'static str {
        match self {
            Self::Built => "built.new",
            Self::Received => "received.new",
        }
    }
}

fn file_name(applied: Option<LogId>) -> String {
    format!("{:020}{SUFFIX}", applied.map_or(0, |applied| applied.index))
}

/// The names of the snapshots in `dir`, oldest first.
pub(crate) fn file_names(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name().into_string().ok();
        names.extend(name.filter(|name| name.ends_with(SUFFIX)));
    }
    names.sort_unstable();
    Ok(names)
}

/// The snapshots of one directory.
#[derive(Clone)]
pub(crate) struct Snapshots {
    dir: Arc<Dir>,
    last: LastWritten,
}

impl Snapshots {
    pub(crate) fn new(dir: Arc<Dir>) -> Self {
        Self {
            dir,
            last: LastWritten::default(),
        }
    }

    fn names(&self) -> io::Result<Vec<String>> {
        file_names(self.dir.path())
    }

    /// The entry that the older one of two snapshots goes up to: as far as the log may be purged, so that it reaches back
    /// to that one should the newer one turn out to be damaged.
    pub(crate) fn fallback(&self) -> io::Result<Option<u64>> {
        let names = self.names()?;
        let older = names.len().checked_sub(KEPT).map(|at| names[at].as_str());
        Ok(older.and_then(|name| name.strip_suffix(SUFFIX)?.parse().ok()))
    }

    /// The newest one that reads; one that does not is passed over, with a warning.
    pub(crate) fn newest(&self) -> io::Result<Option<State>> {
        self.first_good(snapshot_file::read)
            .map(|found| found.map(|(state, _)| state))
    }

    /// As [`Self::newest`], the file alone, which was checked.
    pub(crate) fn newest_file(&self) -> io::Result<Option<(Meta, File)>> {
        self.first_good(snapshot_file::check)
    }

    fn first_good<T>(
        &self,
        read: impl Fn(&mut File) -> Result<T, SnapshotError>,
    ) -> io::Result<Option<(T, File)>> {
        for name in self.names()?.into_iter().rev() {
            let path = self.dir.path().join(&name);
            let mut file = File::open(&path)?;
            match read(&mut file) {
                Ok(found) => return Ok(Some((found, file))),
                Err(error) => {
                    let path = path.display();
                    tracing::warn!(%path, %error, "a snapshot does not read; an older one or the log is used");
                }
            }
        }
        Ok(None)
    }

    /// What the next state that is written goes on from.
    pub(crate) fn last_written(&self) -> &LastWritten {
        &self.last
    }

    /// The disk that they are on.
    pub(crate) fn disk(&self) -> &Disk {
        self.dir.disk()
    }

    /// Writes `state`, which is from there, and removes all but the newest ones.
    pub(crate) fn write(&self, state: &State, from: Origin) -> Result<File, SnapshotError> {
        let (aside, path) = (
            self.dir.path().join(from.aside()),
            self.dir.path().join(file_name(state.applied)),
        );
        let file = files::empty(&aside)?;
        snapshot_file::write(&file, state, &self.last, &from.haste())?;
        std::fs::rename(&aside, &path)?;
        self.dir.sync()?;
        for old in self.names()?.iter().rev().skip(KEPT) {
            std::fs::remove_file(self.dir.path().join(old))?;
        }
        Ok(file)
    }

    /// An empty file for a snapshot that comes from the leader. It has no name any more once it is open.
    pub(crate) async fn incoming(&self) -> io::Result<tokio::fs::File> {
        let path = self.dir.path().join("incoming.part");
        let file = files::empty(&path)?;
        std::fs::remove_file(&path)?;
        Ok(tokio::fs::File::from_std(file))
    }
}

/// Writes a snapshot of a state that was taken when it was asked for; the log goes on meanwhile.
pub(crate) struct Builder {
    pub(crate) snapshots: Snapshots,
    pub(crate) state: State,
    /// Waited for when the replica ends.
    pub(crate) _held: Option<TaskTrackerToken>,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>, RaftError> {
        let (snapshots, state) = (self.snapshots.clone(), self.state.clone());
        let meta = state.meta();
        let failed = |error: &dyn std::error::Error| {
            RaftError::from(StorageIOError::write_snapshot(
                None,
                openraft::AnyError::error(error),
            ))
        };
        let (done, written) = tokio::sync::oneshot::channel();
        // A thread of its own, whose priority is the lowest: commits go first.
        let thread = std::thread::Builder::new().name("snapshot".to_owned());
        let started = thread.spawn(move || {
            lower_priority(NICEST);
            let written = snapshots.disk().hold(|| snapshots.write(&state, Origin::Built));
            // Raft is gone, if nobody waits for it.
            let _ = done.send(written);
        });
        started.map_err(|error| failed(&error))?;
        let file = written
            .await
            .map_err(|error| failed(&error))?
            .map_err(|error| failed(&error))?;
        Ok(Snapshot {
            meta,
            snapshot: Box::new(tokio::fs::File::from_std(file)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_that_is_being_built_and_one_that_comes_meanwhile_are_both_whole() {
        // Given one that is being built, and not whole yet,
        let temp = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::new(Arc::new(Dir::open(temp.path()).unwrap()));
        let mut built = File::create(temp.path().join(Origin::Built.aside())).unwrap();
        io::Write::write_all(&mut built, b"the begin").unwrap();
        // when one from the leader is installed, and more is built,
        snapshots.write(&State::default(), Origin::Received).unwrap();
        io::Write::write_all(&mut built, b"ning and the end").unwrap();
        // then what was installed reads.
        assert!(snapshots.newest().unwrap().is_some());
        // And so it is when the built one is whole.
        snapshots.write(&State::default(), Origin::Built).unwrap();
        assert!(snapshots.newest().unwrap().is_some());
    }
}
