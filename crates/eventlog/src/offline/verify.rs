//! The proof that a directory holds what was written: every checksum, the numbers without holes, the hash chain,
//! the fold against every snapshot.

use std::path::Path;

use chv_domain::{ClusterId, RecordHash, ReplicaId, Seq, Term};
use openraft::EntryPayload;
use serde::Serialize;

use super::chain::{Chain, contradiction};
use super::dir::ClosedDir;
use super::finding::{Finding, FindingKind};
use super::log::Segments;
use super::small::SmallFiles;
use super::snapshots::{self, Held};
use crate::open::{SEGMENTS, SNAPSHOTS};
use crate::raft::fit::{self, Ends};
use crate::raft::log_storage::decode;
use crate::raft::snapshot::State;
use crate::raft::{Entry, LogId, Membership};
use crate::segment::ScannedSegment;

/// How far a long check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Files that are checked.
    pub done: u64,
    /// Files that there are.
    pub total: u64,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// The cluster.
    pub cluster: ClusterId,
    /// The replica whose directory it is; `None` of an archive.
    pub replica: Option<ReplicaId>,
    /// The first event whose record was checked; `None` where there is none.
    pub first_seq: Option<Seq>,
    /// The last one: up to here everything is as it was written.
    pub last_seq: Seq,
    /// The hash of its record. Equal on every replica that holds that event.
    #[serde(serialize_with = "super::finding::as_text")]
    pub last_hash: RecordHash,
    /// How many log entries were checked.
    pub entries: u64,
    /// How many records.
    pub records: u64,
    /// Batches that every replica drops: decided by a leader that was none any more.
    pub dropped: u64,
    /// Snapshots whose state the fold of the records came to.
    pub snapshots_compared: u64,
    /// Snapshots that the log does not reach, and whose checksum alone speaks for them.
    pub snapshots_alone: u64,
    /// Bytes at the log's end of a write that was never flushed, so never acknowledged. They are cut off when the
    /// replica starts; nothing is wrong with that.
    pub torn_bytes: u64,
    /// What is wrong; empty when nothing is.
    pub findings: Vec<Finding>,
}

impl Verification {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Checks `dir`. Blocks for as long as reading all of it takes.
pub fn verify(dir: &ClosedDir, progress: &mut dyn FnMut(Progress)) -> Verification {
    let mut findings = Vec::new();
    let small = SmallFiles::read(dir.dir(), &mut findings);
    let held = snapshots::read(&dir.path().join(SNAPSHOTS), &mut findings);
    let mut walk = Walk::new(small, held);
    match Segments::of(&dir.path().join(SEGMENTS), small.first()) {
        Err(finding) => findings.push(finding),
        Ok(segments) => {
            let total = segments.count() as u64;
            let walked = segments.scan().enumerate().try_for_each(|(done, segment)| {
                progress(Progress {
                    done: done as u64,
                    total,
                });
                walk.segment(&segment.map_err(|error| walk.unvouched(error.into()))?)
            });
            findings.extend(walked.err());
            progress(Progress { done: total, total });
        }
    }
    findings.extend(walk.chain.end().err());
    findings.extend(walk.left_over(dir.path()));
    let (records, dropped) = walk.chain.counts();
    let (last_seq, last_hash) = match findings.is_empty() {
        true => walk.last(),
        // A later snapshot may read, and yet says nothing about the events between.
        false => walk.chain.at().unwrap_or_default(),
    };
    Verification {
        cluster: dir.cluster(),
        replica: Some(dir.replica()),
        first_seq: walk.first_seq,
        last_seq,
        last_hash,
        entries: walk.entries,
        records,
        dropped,
        snapshots_compared: walk.compared,
        snapshots_alone: walk.alone,
        torn_bytes: walk.torn,
        findings,
    }
}

struct Walk {
    small: SmallFiles,
    /// Not reached yet, oldest first.
    snapshots: Vec<Held>,
    chain: Chain,
    /// The fold; `None` before the first snapshot of a log that was purged.
    state: Option<State>,
    last: Option<LogId>,
    first_seq: Option<Seq>,
    entries: u64,
    compared: u64,
    alone: u64,
    torn: u64,
}

impl Walk {
    fn new(small: SmallFiles, snapshots: Vec<Held>) -> Self {
        let whole = small.purged.is_none();
        Self {
            chain: match whole {
                true => Chain::from_the_first(),
                false => Chain::from_anywhere(),
            },
            state: whole.then(State::default),
            last: small.purged,
            small,
            snapshots,
            first_seq: None,
            entries: 0,
            compared: 0,
            alone: 0,
            torn: 0,
        }
    }

    fn unvouched(&self, finding: Finding) -> Finding {
        let seq = self.chain.at().map(|(seq, _)| seq.next());
        finding.before(seq)
    }

    fn segment(&mut self, segment: &ScannedSegment) -> Result<(), Finding> {
        self.torn += segment.torn().map_or(0, |torn| torn.len() as u64);
        for (offset, stored) in segment.entries() {
            if stored.index < self.small.first() {
                continue;
            }
            let place = |kind, what: String| Finding::new(kind, &segment.path, what).at(offset, stored.index);
            let entry = decode(&stored.payload).map_err(|error| {
                let what = format!("an intact entry does not decode: {error}");
                self.unvouched(place(FindingKind::Version, what))
            })?;
            self.entry(entry, &segment.path, offset, stored.index)
                .map_err(|finding| match finding.seq {
                    Some(_) => finding,
                    None => self.unvouched(finding),
                })?;
        }
        Ok(())
    }

    fn entry(&mut self, entry: Entry, path: &Path, offset: u64, index: u64) -> Result<(), Finding> {
        let wrong = |what: String| contradiction(path, offset, index)(what);
        if entry.log_id.index != index {
            return Err(wrong(format!(
                "the frame of entry {index} holds entry {}",
                entry.log_id.index
            )));
        }
        if self
            .last
            .is_some_and(|last| entry.log_id.leader_id < last.leader_id)
        {
            return Err(wrong(
                "its term is older than that of the entry before it".to_owned(),
            ));
        }
        self.last = Some(entry.log_id);
        self.entries += 1;
        // A snapshot that the fold begins with is the state before this entry.
        self.reach(index.checked_sub(1))?;
        if let EntryPayload::Normal(batch) = &entry.payload {
            let term = Term(entry.log_id.leader_id.term);
            let before = self.chain.counts().0;
            self.chain
                .take_in(term, batch, contradiction(path, offset, index))?;
            if self.chain.counts().0 > before {
                self.first_seq = self
                    .first_seq
                    .or(batch.records.first().map(|record| record.first));
            }
        }
        if let Some(state) = &mut self.state {
            fold(state, entry);
        }
        self.reach(Some(index))
    }

    /// Compares the snapshots up to entry `index` with the fold; the first one begins it where there is none.
    fn reach(&mut self, index: Option<u64>) -> Result<(), Finding> {
        let Some(index) = index else { return Ok(()) };
        while self.snapshots.first().is_some_and(|held| held.entry() <= index) {
            let held = self.snapshots.remove(0);
            if held.entry() < index || held.state.applied.is_none() {
                // From before the log's first entry.
                self.alone += 1;
                continue;
            }
            let differs = |what: String| Finding::new(FindingKind::Contradiction, &held.file, what);
            let of_snapshot = (held.state.projection.seq(), held.state.projection.hash());
            if let Some(at) = self.chain.at().filter(|at| *at != of_snapshot) {
                return Err(differs(format!(
                    "it holds event {} with hash {} where the log has event {} with hash {}",
                    of_snapshot.0, of_snapshot.1, at.0, at.1
                )));
            }
            match &self.state {
                Some(state) if state.projection != held.state.projection => {
                    return Err(differs(format!(
                        "its state is not what the records up to event {} fold to",
                        of_snapshot.0
                    )));
                }
                Some(_) => self.compared += 1,
                None => {
                    self.alone += 1;
                    self.state = Some(held.state);
                }
            }
        }
        Ok(())
    }

    /// What only shows at the end.
    fn left_over(&mut self, dir: &Path) -> Vec<Finding> {
        let mut findings = Vec::new();
        self.alone += self.snapshots.len() as u64;
        let ends = Ends {
            purged: self.small.purged,
            last: self.last,
            vote: self.small.vote,
        };
        let newest = self.snapshots.last().and_then(|held| held.state.applied);
        let of_state = self.state.as_ref().and_then(|state| state.applied);
        findings.extend(
            fit::check(dir, &ends, newest.max(of_state))
                .err()
                .map(Finding::from),
        );
        findings
    }

    /// The last event that is vouched for: the log's, or that of a snapshot that goes further.
    fn last(&self) -> (Seq, RecordHash) {
        let of_snapshots = self.snapshots.iter().map(|held| &held.state.projection);
        let furthest = of_snapshots
            .map(|state| (state.seq(), state.hash()))
            .max_by_key(|(seq, _)| *seq);
        let of_state = self
            .state
            .as_ref()
            .map(|state| (state.projection.seq(), state.projection.hash()));
        let all = [self.chain.at(), of_state, furthest];
        all.into_iter()
            .flatten()
            .max_by_key(|(seq, _)| *seq)
            .unwrap_or_default()
    }
}

pub(super) fn fold(state: &mut State, entry: Entry) {
    state.applied = Some(entry.log_id);
    match entry.payload {
        EntryPayload::Blank => {}
        EntryPayload::Membership(membership) => {
            state.membership = Membership::new(Some(entry.log_id), membership);
        }
        EntryPayload::Normal(batch) => {
            let term = Term(entry.log_id.leader_id.term);
            state.projection.apply_batch(term, &batch);
        }
    }
}
