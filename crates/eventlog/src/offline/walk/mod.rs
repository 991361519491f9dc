//! The proof that a directory holds what was written: every checksum, the numbers without holes, the hash chain,
//! the fold against every snapshot.

mod end;
mod folding;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use chv_domain::{Projection, Record, RecordHash, Seq, Term};
use openraft::EntryPayload;

use folding::Folding;

use super::chain::{Chain, contradiction};
use super::dir::ClosedDir;
use super::finding::{Finding, FindingKind};
use super::history;
use super::log::Segments;
use super::small::SmallFiles;
use super::snapshots::{self, Held};
use super::verification::{Progress, Verification};
use crate::open::{HISTORY, SEGMENTS, SNAPSHOTS};
use crate::raft::decode;
use crate::raft::snapshot::State;
use crate::raft::{Entry, LogId, Membership};
use crate::segment::ScannedSegment;

/// As [`verify`]; `each` is given every record in order, those that are in sealed files and in the log too perhaps
/// twice. The state after the last one comes with it.
pub(crate) fn walk(
    dir: &ClosedDir,
    progress: &mut dyn FnMut(Progress),
    each: &mut dyn FnMut(&Record),
) -> (Verification, Projection) {
    let mut findings = Vec::new();
    let small = SmallFiles::read(dir.dir(), &mut findings);
    let held = snapshots::read(&dir.path().join(SNAPSHOTS), &mut findings);
    let history = dir.path().join(HISTORY);
    let mut walk = Walk::new(small, held, Folding::of(&history));
    let mut sealed = |path: &Path, record: &Record| {
        each(record);
        walk.sealed(path, record)
    };
    walk.history = history::check(&history, dir.cluster(), &mut findings, &mut sealed);
    match Segments::of(&dir.path().join(SEGMENTS), small.first()) {
        Err(finding) => findings.push(finding),
        Ok(segments) => {
            let total = segments.count() as u64;
            let walked = segments.scan().enumerate().try_for_each(|(done, segment)| {
                progress(Progress {
                    done: done as u64,
                    total,
                });
                walk.segment(&segment.map_err(|error| walk.unvouched(error.into()))?, each)
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
        false => walk.chain.at().or(walk.history).unwrap_or_default(),
    };
    let verification = Verification {
        cluster: Some(dir.cluster()),
        replica: Some(dir.replica()),
        first_seq: walk.first_seq,
        base_seq: walk.folding.base(),
        last_seq,
        last_hash,
        entries: walk.entries,
        records,
        sealed: walk.sealed,
        dropped,
        snapshots_compared: walk.compared,
        snapshots_alone: walk.alone,
        torn_bytes: walk.torn,
        findings,
    };
    (verification, walk.furthest())
}

struct Walk {
    small: SmallFiles,
    /// Not reached yet, oldest first.
    snapshots: Vec<Held>,
    chain: Chain,
    /// The fold; `None` before the first snapshot of a log that was purged.
    state: Option<State>,
    /// The last sealed event and its record's hash.
    history: Option<(Seq, RecordHash)>,
    /// The fold of the sealed records, where the log does not begin with the first event; the log's follow.
    folding: Folding,
    /// The snapshots that the fold came to.
    compared_files: BTreeSet<PathBuf>,
    sealed: u64,
    last: Option<LogId>,
    first_seq: Option<Seq>,
    entries: u64,
    compared: u64,
    alone: u64,
    torn: u64,
}

impl Walk {
    fn new(small: SmallFiles, snapshots: Vec<Held>, folding: Folding) -> Self {
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
            history: None,
            folding,
            compared_files: BTreeSet::new(),
            sealed: 0,
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

    /// Takes in a record of a sealed file.
    fn sealed(&mut self, path: &Path, record: &Record) -> Result<(), Finding> {
        self.sealed += 1;
        if self.first_seq.is_none() {
            self.first_seq = Some(record.first);
            if self.small.purged.is_some() {
                self.folding.begin(record)?;
            }
        }
        self.go_on(path, record)
    }

    /// Folds a record in where the fold has come to it, and compares the snapshot of that event.
    fn go_on(&mut self, path: &Path, record: &Record) -> Result<(), Finding> {
        let Some(fold) = self.folding.go_on(path, record)? else {
            return Ok(());
        };
        for held in &self.snapshots {
            let state = &held.state.projection;
            if state.seq() != fold.seq() {
                continue;
            }
            if !state.is_fold(fold) {
                let what = format!(
                    "its state is not what the records up to event {} fold to",
                    state.seq()
                );
                return Err(Finding::new(FindingKind::Contradiction, &held.file, what));
            }
            self.compared += 1;
            self.compared_files.insert(held.file.clone());
        }
        Ok(())
    }

    /// Whether the log's records go on where the sealed ones end.
    fn joins(&self, record: &Record) -> Result<(), String> {
        let Some((seq, hash)) = self.history else {
            return Ok(());
        };
        if self.small.purged.is_some() && self.chain.counts().0 == 0 && record.first > seq.next() {
            return Err(format!(
                "the log begins with event {}, and sealed history ends with event {seq}",
                record.first
            ));
        }
        let differs = record.last() == seq && record.hash() != hash
            || record.first == seq.next() && record.prev != hash;
        match differs {
            true => Err(format!(
                "the record of event {} is not what sealed history goes on with",
                record.first
            )),
            false => Ok(()),
        }
    }

    fn segment(&mut self, segment: &ScannedSegment, each: &mut dyn FnMut(&Record)) -> Result<(), Finding> {
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
            self.entry(entry, &segment.path, offset, stored.index, each)
                .map_err(|finding| match finding.seq {
                    Some(_) => finding,
                    None => self.unvouched(finding),
                })?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        entry: Entry,
        path: &Path,
        offset: u64,
        index: u64,
        each: &mut dyn FnMut(&Record),
    ) -> Result<(), Finding> {
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
            batch
                .records
                .iter()
                .try_for_each(|record| self.joins(record))
                .map_err(wrong)?;
            self.chain
                .take_in(term, batch, contradiction(path, offset, index))?;
            if self.chain.counts().0 > before {
                self.first_seq = self
                    .first_seq
                    .or(batch.records.first().map(|record| record.first));
                for record in &batch.records {
                    each(record);
                    self.go_on(path, record)?;
                }
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
                self.alone += u64::from(!self.compared_files.contains(&held.file));
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
                Some(_) => self.compared += u64::from(!self.compared_files.contains(&held.file)),
                None => {
                    self.alone += u64::from(!self.compared_files.contains(&held.file));
                    self.state = Some(held.state);
                }
            }
        }
        Ok(())
    }
}

pub(in crate::offline) fn fold(state: &mut State, entry: Entry) {
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
