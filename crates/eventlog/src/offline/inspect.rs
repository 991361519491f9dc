//! What a data directory holds, as it says itself. Proves nothing: that is `verify`.

use std::path::{Path, PathBuf};

use chv_domain::{ClusterId, RecordHash, ReplicaId, Seq, Term, Timestamp, stored};
use openraft::EntryPayload;
use serde::Serialize;

use super::dir::ClosedDir;
use super::finding::Finding;
use super::log::Segments;
use super::small::SmallFiles;
use super::snapshots::{self, Held};
use crate::files::LAYOUT;
use crate::open::{INDEX, SEGMENTS, SNAPSHOTS};
use crate::raft::LogId;
use crate::raft::decode;
use crate::segment::{FILE_VERSION, FRAME_VERSION, ScannedSegment};

/// What a replica voted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Vote {
    /// The term.
    pub term: Term,
    /// For whom.
    pub replica: u64,
    /// Whether that one is known to have won.
    pub won: bool,
}

/// A place in Raft's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Position {
    /// The term of the entry there.
    pub term: Term,
    /// The entry.
    pub entry: u64,
}

impl From<LogId> for Position {
    fn from(id: LogId) -> Self {
        Self {
            term: Term(id.leader_id.term),
            entry: id.index,
        }
    }
}

/// The entries that the log has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogRange {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: Position,
}

/// A record, by its number and hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LastRecord {
    /// Its last event.
    pub seq: Seq,
    /// Its hash.
    #[serde(serialize_with = "super::finding::as_text")]
    pub hash: RecordHash,
    /// When it was decided.
    #[serde(skip)]
    pub time: Timestamp,
}

/// One segment file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SegmentFile {
    /// Its path.
    pub file: PathBuf,
    /// Its first entry.
    pub first: u64,
    /// How many entries it holds.
    pub entries: u64,
    /// Its size, in bytes.
    pub bytes: u64,
    /// How many of them are in use.
    pub used: u64,
    /// Bytes at its end of a write that was never flushed.
    pub torn: u64,
}

/// One snapshot file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotFile {
    /// Its path.
    pub file: PathBuf,
    /// Its size, in bytes.
    pub bytes: u64,
    /// The entry that it goes up to.
    pub upto: Option<Position>,
    /// Its last event.
    pub seq: Seq,
    /// The hash of that event's record.
    #[serde(serialize_with = "super::finding::as_text")]
    pub hash: RecordHash,
    /// Who votes, as of that entry.
    pub voters: Vec<u64>,
}

/// How much room the parts take, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sizes {
    /// Raft's log.
    pub segments: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Indexes.
    pub index: u64,
    /// All of it.
    pub total: u64,
}

/// The versions of the forms that were found, each the only one that this program reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Versions {
    /// Of the directory's layout.
    pub layout: u32,
    /// Of segment files.
    pub segment: u32,
    /// Of the frames in them.
    pub frame: u8,
    /// Of stored values.
    pub stored: u8,
}

/// What a data directory holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    /// The directory.
    pub path: PathBuf,
    /// The cluster.
    pub cluster: ClusterId,
    /// The replica.
    pub replica: ReplicaId,
    /// The versions of its files.
    pub versions: Versions,
    /// What it voted last.
    pub vote: Option<Vote>,
    /// The last entry that was purged.
    pub purged: Option<Position>,
    /// How far the log was known to be committed; it may be further.
    pub committed: Option<Position>,
    /// The entries that the log has.
    pub log: Option<LogRange>,
    /// The newest record, in the log or in a snapshot.
    pub last: Option<LastRecord>,
    /// The log's files.
    pub segments: Vec<SegmentFile>,
    /// The snapshots.
    pub snapshots: Vec<SnapshotFile>,
    /// How much room they take.
    pub sizes: Sizes,
    /// What does not read.
    pub findings: Vec<Finding>,
}

/// Looks at `dir`. Blocks while the log's files are read.
pub fn inspect(dir: &ClosedDir) -> Inspection {
    let mut findings = Vec::new();
    let small = SmallFiles::read(dir.dir(), &mut findings);
    let held = snapshots::read(&dir.path().join(SNAPSHOTS), &mut findings);
    let log = Log::read(&dir.path().join(SEGMENTS), small, &mut findings);
    let of_snapshot = held.last().map(last_of);
    Inspection {
        path: dir.path().to_owned(),
        cluster: dir.cluster(),
        replica: dir.replica(),
        versions: Versions {
            layout: LAYOUT,
            segment: FILE_VERSION,
            frame: FRAME_VERSION,
            stored: stored::VERSION,
        },
        vote: small.vote.map(|vote| Vote {
            term: Term(vote.leader_id.term),
            replica: vote.leader_id.node_id,
            won: vote.committed,
        }),
        purged: small.purged.map(Position::from),
        committed: small.committed.map(Position::from),
        log: log.range,
        last: [log.last, of_snapshot]
            .into_iter()
            .flatten()
            .max_by_key(|last| last.seq),
        segments: log.files,
        snapshots: held.iter().map(snapshot_file).collect(),
        sizes: Sizes {
            segments: size(&dir.path().join(SEGMENTS)),
            snapshots: size(&dir.path().join(SNAPSHOTS)),
            index: size(&dir.path().join(INDEX)),
            total: size(dir.path()),
        },
        findings,
    }
}

/// What the segments hold.
#[derive(Default)]
struct Log {
    files: Vec<SegmentFile>,
    range: Option<LogRange>,
    last: Option<LastRecord>,
}

impl Log {
    fn read(dir: &Path, small: SmallFiles, findings: &mut Vec<Finding>) -> Self {
        let mut log = Self::default();
        let segments = match Segments::of(dir, small.first()) {
            Ok(segments) => segments,
            Err(finding) => {
                findings.push(finding);
                return log;
            }
        };
        for segment in segments.scan() {
            match segment {
                Ok(segment) => log.add(&segment, small.first()),
                Err(error) => findings.push(error.into()),
            }
        }
        log
    }

    fn add(&mut self, segment: &ScannedSegment, first: u64) {
        self.files.push(SegmentFile {
            file: segment.path.clone(),
            first: segment.first,
            entries: segment.count(),
            bytes: segment.size(),
            used: segment.used(),
            torn: segment.torn().map_or(0, |torn| torn.len() as u64),
        });
        let decoded = segment
            .entries()
            .rev()
            .map_while(|(_, entry)| decode(&entry.payload).ok());
        let mut newest = None;
        for entry in decoded {
            newest = newest.or(Some(entry.log_id));
            if let EntryPayload::Normal(batch) = &entry.payload
                && let Some(record) = batch.records.last()
                && record.term == Term(entry.log_id.leader_id.term)
            {
                self.last = Some(LastRecord {
                    seq: record.last(),
                    hash: record.hash(),
                    time: record.time,
                });
                break;
            }
        }
        if let Some(newest) = newest.filter(|newest| newest.index >= first) {
            self.range = Some(LogRange {
                first: self.range.map_or(segment.first.max(first), |range| range.first),
                last: newest.into(),
            });
        }
    }
}

fn last_of(held: &Held) -> LastRecord {
    let state = &held.state.projection;
    LastRecord {
        seq: state.seq(),
        hash: state.hash(),
        time: state.time(),
    }
}

fn snapshot_file(held: &Held) -> SnapshotFile {
    SnapshotFile {
        file: held.file.clone(),
        bytes: held.bytes,
        upto: held.state.applied.map(Position::from),
        seq: held.state.projection.seq(),
        hash: held.state.projection.hash(),
        voters: held.state.membership.membership().voter_ids().collect(),
    }
}

/// The bytes of all files below `path`; what can't be looked at counts nothing.
fn size(path: &Path) -> u64 {
    let Ok(metadata) = std::fs::symlink_metadata(path) else {
        return 0;
    };
    if !metadata.is_dir() {
        return metadata.len();
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| size(&entry.path())).sum()
}
