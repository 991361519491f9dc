//! Makes the data directory of a cluster's one replica out of an archive: checked on the way in, and in its place only
//! when all of it was sound.
//!
//! The events keep their numbers, hashes and times. One record is added: the replicas of before have left, and the new
//! one forms the cluster. So their numbers are used up, and none of them comes back into a cluster that went on without
//! it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chv_domain::{
    Actor, Batch, BatchOutcome, Cause, ClusterId, CommandId, Event, Projection, Record, RecordBody,
    ReplicaId, Seq, Term, Timestamp, Verb,
};
use openraft::{BasicNode, CommittedLeaderId};

use super::{Archive, ArchiveError, PART, read};
use crate::files::{Dir, FileError, Identity, IdentityError};
use crate::history::format::{Builder, Header};
use crate::history::{History, HistoryError, checkpoint};
use crate::offline::Progress;
use crate::open::{HISTORY, SNAPSHOTS};
use crate::raft::log_storage::{PURGED, VOTE};
use crate::raft::snapshot::{Origin, Snapshots, State};
use crate::raft::snapshot_file::LastWritten;
use crate::raft::{LogId, Membership, Vote};

/// What is to be restored, and as what.
#[derive(Debug, Clone)]
pub struct Restore {
    /// The archive.
    pub archive: PathBuf,
    /// The data directory to be made; empty or not there yet.
    pub dir: PathBuf,
    /// The replica's number; none that the archived cluster ever gave.
    pub replica: ReplicaId,
    /// Where other replicas will reach it.
    pub address: SocketAddr,
    /// Another id for the cluster; the archived one's if not given.
    pub cluster: Option<ClusterId>,
    /// The time now.
    pub now: Timestamp,
    /// The id of the command that the added record goes back to.
    pub command: CommandId,
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The cluster.
    pub cluster: ClusterId,
    /// The first event that is kept.
    pub first: Seq,
    /// The last event of the archive.
    pub archived: Seq,
    /// The last event now.
    pub last: Seq,
    /// How many records were taken in.
    pub records: u64,
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The directory holds something.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A number is given once.
    #[error(
        "replica {given} was a replica of the archived cluster, and a number is given once; restore as replica {free}, \
         or a later one"
    )]
    UsedId {
        /// The number that was asked for.
        given: ReplicaId,
        /// The first that is free.
        free: u64,
    },
    /// A file of the directory.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file of the directory.
    #[error("{path}: {why}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What went wrong.
        why: String,
    },
}

/// Restores. Nothing is at `dir` before all of it is written and flushed. Blocks.
pub fn restore(order: &Restore, progress: &mut dyn FnMut(Progress)) -> Result<Restored, RestoreError> {
    if std::fs::read_dir(&order.dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(IdentityError::NotEmpty(order.dir.clone()).into());
    }
    let mut name = order.dir.as_os_str().to_owned();
    name.push(".restoring");
    let aside = PathBuf::from(name);
    remove(&aside)?;
    let restored = fill(order, &aside, progress);
    if restored.is_err() {
        // What is there was not in place yet; the first error is what matters.
        let _ = remove(&aside);
        return restored;
    }
    let named = || {
        std::fs::rename(&aside, &order.dir)?;
        let parent = order.dir.parent().filter(|parent| !parent.as_os_str().is_empty());
        std::fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    };
    named().map_err(io(&order.dir))?;
    restored
}

fn fill(order: &Restore, aside: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Restored, RestoreError> {
    // The cluster's id is in every sealed file, so it is known before the first one is written.
    let cluster = match order.cluster {
        Some(cluster) => cluster,
        None => read_cluster(&order.archive)?,
    };
    Identity::init(aside, cluster, order.replica)?;
    let dir = Dir::open(aside).map_err(io(aside))?;
    let history = History::open(&aside.join(HISTORY), cluster).map_err(of_history)?;
    let mut sealing = Sealing {
        cluster,
        history,
        builder: None,
        failed: None,
    };
    let archive = read(&order.archive, progress, &mut |record| {
        // The archive's error ends the reading; what it was is told below.
        sealing.push(record).map_err(|error| {
            let source = std::io::Error::other(error.to_string());
            sealing.failed = Some(error);
            ArchiveError::io(aside)(source)
        })
    });
    if let Some(error) = sealing.failed.take() {
        return Err(error);
    }
    let archive = archive?;
    if let Some(base) = &archive.base {
        checkpoint::write(sealing.history.dir(), base, &LastWritten::default()).map_err(|error| {
            RestoreError::Io {
                path: aside.join(HISTORY),
                why: error.to_string(),
            }
        })?;
    }
    let added = added(order, &archive)?;
    sealing.push(&added)?;
    sealing.seal()?;
    let mut state = archive.state.clone();
    let batch = Batch {
        published: state.published(),
        records: vec![added.clone()],
    };
    let BatchOutcome::Applied { last } = state.apply_batch(added.term, &batch) else {
        return Err(RestoreError::Io {
            path: aside.to_owned(),
            why: "the added record does not continue the archive's; that is a defect".to_owned(),
        });
    };
    raft_files(order, aside, &dir, state, added.term)?;
    dir.sync().map_err(io(aside))?;
    Ok(Restored {
        cluster,
        first: archive.first,
        archived: archive.state.seq(),
        last,
        records: archive.records,
    })
}

fn read_cluster(archive: &Path) -> Result<ClusterId, RestoreError> {
    Ok(super::reader::cluster_of(archive)?)
}

/// The record that says who the replicas are now.
fn added(order: &Restore, archive: &Archive) -> Result<Record, RestoreError> {
    let cluster = archive.state.cluster();
    let used = cluster
        .members()
        .map(|(replica, _)| replica)
        .chain(cluster.left());
    let highest = used.map(ReplicaId::get).max().unwrap_or(0);
    if cluster.member(order.replica).is_some() || cluster.has_left(order.replica) {
        return Err(RestoreError::UsedId {
            given: order.replica,
            free: highest + 1,
        });
    }
    let mut events: Vec<Event> = cluster
        .members()
        .map(|(replica, _)| Event::ReplicaLeft { replica })
        .collect();
    events.push(Event::ClusterFormed {
        replicas: BTreeMap::from([(order.replica, order.address)]),
    });
    Ok(Record::new(RecordBody {
        first: archive.state.seq().next(),
        term: Term(archive.term.0 + 1),
        time: order.now.max(archive.state.time()),
        actor: Actor::Replica(order.replica),
        cause: Cause {
            command: order.command,
            verb: Verb::ClusterReport,
            follows: None,
        },
        trace: None,
        prev: archive.state.hash(),
        events,
    }))
}

/// A snapshot of the state, and a log that begins after it.
fn raft_files(
    order: &Restore,
    aside: &Path,
    dir: &Dir,
    projection: Projection,
    term: Term,
) -> Result<(), RestoreError> {
    let replica = order.replica.get();
    // Entries that went before are nobody's any more; the events' number is as good as theirs.
    let applied = LogId::new(CommittedLeaderId::new(term.0, replica), projection.seq().0);
    let node = BTreeMap::from([(replica, BasicNode::new(order.address))]);
    let membership = openraft::Membership::new(vec![[replica].into()], node);
    let state = State {
        applied: Some(applied),
        membership: Membership::new(Some(applied), membership),
        projection,
    };
    let snapshots = Arc::new(Dir::open(&aside.join(SNAPSHOTS)).map_err(io(aside))?);
    Snapshots::new(snapshots)
        .write(&state, Origin::Received)
        .map_err(|error| RestoreError::Io {
            path: aside.join(SNAPSHOTS),
            why: error.to_string(),
        })?;
    dir.replace(PURGED, &applied)?;
    dir.replace(VOTE, &Vote::new(term.0, replica))?;
    Ok(())
}

/// Sealed files in the making.
struct Sealing {
    cluster: ClusterId,
    history: History,
    builder: Option<Builder>,
    failed: Option<RestoreError>,
}

impl Sealing {
    fn push(&mut self, record: &Record) -> Result<(), RestoreError> {
        let header = Header {
            cluster: self.cluster,
            first: record.first,
            prev: record.prev,
        };
        let builder = self.builder.get_or_insert_with(|| Builder::new(header));
        builder.push(record).map_err(|_| ArchiveError::Chain {
            found: record.first,
            last: Seq(record.first.0.saturating_sub(1)),
        })?;
        match builder.size() >= PART {
            true => self.seal(),
            false => Ok(()),
        }
    }

    fn seal(&mut self) -> Result<(), RestoreError> {
        match self.builder.take().and_then(Builder::finish) {
            Some(bytes) => self.history.add(&bytes).map(drop).map_err(of_history),
            None => Ok(()),
        }
    }
}

fn of_history(error: HistoryError) -> RestoreError {
    RestoreError::Io {
        path: PathBuf::from(HISTORY),
        why: error.to_string(),
    }
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> RestoreError {
    let path = path.to_owned();
    move |error| RestoreError::Io {
        path,
        why: error.to_string(),
    }
}

fn remove(path: &Path) -> Result<(), RestoreError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io(path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
