//! What must hold, looked at from outside: the one log that was ever committed, what was answered about it, and
//! what of it the broker and its subscribers had. Knows everything, and takes part in nothing.

mod answers;
mod guests;
mod published;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Instant;

use chv_domain::{
    BatchOutcome, CommandId, Projection, Record, RecordHash, Seq, Submission, Timestamp, VmId, VmSpec,
    invariants,
};
use ulid::Ulid;

use crate::raft::disk::{Entry, LogId};
use crate::world::Applied;

/// Something that must not be, in words.
pub type Violation = String;

/// What happened in a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Records in the log.
    pub records: u64,
    /// Batches that were dropped by the fence.
    pub dropped: u64,
    /// Final answers that reached their sender.
    pub answers: u64,
    /// Answers to a retry of a command that was recorded before.
    pub repeats: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Commands that one leader refused and another, later one did (docs/adr/0009).
    pub decided_anew: u64,
    /// Guests that were started.
    pub starts: u64,
    /// VMs that were placed elsewhere.
    pub failovers: u64,
    /// Faults.
    pub faults: u64,
}

/// A command that was sent.
struct Sent {
    /// Everything up to here was acknowledged before it was first sent.
    floor: Seq,
    /// The refusals, and the answers without an event, by the office that gave them.
    without_event: BTreeMap<u64, String>,
}

/// Where a command's record is.
struct Done {
    first: Seq,
    last: Seq,
    entry: LogId,
}

pub(crate) struct Oracle {
    pub(crate) begun: Instant,
    pub(crate) spec: VmSpec,
    pub(crate) ids: u64,
    pub(crate) offices: u64,
    pub(crate) count: Count,
    wrong: Option<Violation>,
    /// Each entry that was applied anywhere, by its index, and the state after it.
    log: Vec<(LogId, Projection)>,
    records: BTreeMap<Seq, Rc<Record>>,
    hashes: BTreeMap<Seq, RecordHash>,
    time: Timestamp,
    done: BTreeMap<CommandId, Done>,
    sent: BTreeMap<CommandId, Sent>,
    proposed: BTreeMap<LogId, u64>,
    aliases: BTreeMap<CommandId, CommandId>,
    acknowledged: Seq,
    broker: BTreeSet<Seq>,
    /// It has had every event up to this one.
    broker_upto: Seq,
    /// Where each guest runs.
    guests: BTreeMap<VmId, usize>,
    /// The VMs that were created, and whether they ask for failover; those that were placed.
    asks: BTreeMap<VmId, bool>,
    placed: BTreeSet<VmId>,
}

impl Default for Oracle {
    fn default() -> Self {
        let spec = serde_json::from_str(r#"{"cpu":1,"memory":"64MiB","boot":{"kernel":"k"}}"#);
        Self {
            begun: Instant::now(),
            spec: spec.expect("it is a spec"),
            ids: 0,
            offices: 0,
            count: Count::default(),
            wrong: None,
            log: Vec::new(),
            records: BTreeMap::new(),
            hashes: BTreeMap::from([(Seq::ZERO, RecordHash::default())]),
            time: Timestamp(0),
            done: BTreeMap::new(),
            sent: BTreeMap::new(),
            proposed: BTreeMap::new(),
            aliases: BTreeMap::new(),
            acknowledged: Seq::ZERO,
            broker: BTreeSet::new(),
            broker_upto: Seq::ZERO,
            guests: BTreeMap::new(),
            asks: BTreeMap::new(),
            placed: BTreeSet::new(),
        }
    }
}

/// Whether two states are not the same. The chain's hash tells almost always; the whole is looked at now and then,
/// and at the end.
fn differ(at: usize, one: &Projection, other: &Projection) -> bool {
    let short = |state: &Projection| (state.seq(), state.hash(), state.published());
    short(one) != short(other) || (at.is_multiple_of(16) && one != other)
}

impl Oracle {
    pub(crate) fn wrong(&mut self, what: Violation) {
        self.wrong.get_or_insert(what);
    }

    pub(crate) fn verdict(&self) -> Result<(), Violation> {
        self.wrong.clone().map_or(Ok(()), Err)
    }

    /// Everything up to this event was acknowledged to somebody.
    pub(crate) const fn acknowledged(&self) -> Seq {
        self.acknowledged
    }

    /// The state that all replicas come to.
    pub(crate) fn state(&self) -> Projection {
        self.log
            .last()
            .map(|(_, state)| state.clone())
            .unwrap_or_default()
    }

    /// Another id for a command, so that nothing knows it again.
    pub(crate) fn alias(&mut self, id: CommandId) -> CommandId {
        self.ids += 1;
        let alias = CommandId::from_ulid(Ulid::from_parts(id.made_at_ms(), u128::from(self.ids)));
        self.aliases.insert(alias, id);
        alias
    }

    pub(crate) fn sent(&mut self, submission: &Submission, floor: Seq) {
        let sent = Sent {
            floor,
            without_event: BTreeMap::new(),
        };
        self.sent.insert(submission.id, sent);
    }

    pub(crate) fn proposed(&mut self, entry: LogId, office: u64) {
        self.proposed.insert(entry, office);
    }

    /// A replica applied an entry.
    pub(crate) fn applied(
        &mut self,
        replica: usize,
        entry: &Entry,
        outcome: BatchOutcome,
        applied: &Applied,
    ) {
        let at = usize::try_from(entry.id.index - 1).expect("a log is not that long");
        if let Some((id, state)) = self.log.get(at) {
            if *id != entry.id {
                let what = format!(
                    "replica {replica} applied {:?} where another applied {id:?}",
                    entry.id
                );
                self.wrong(what);
            } else if differ(at, state, &applied.state) {
                let what = format!("replica {replica} has another state than others after {id:?}");
                self.wrong(what);
            }
            return;
        }
        let before = self.log.last().map_or(Seq::ZERO, |(_, state)| state.seq());
        self.log.push((entry.id, applied.state.clone()));
        let new = applied.records.partition_point(|record| record.last() <= before);
        for record in &applied.records[new..] {
            self.recorded(entry.id, record);
        }
        self.hashes.insert(applied.state.seq(), applied.state.hash());
        if outcome == BatchOutcome::Dropped && applied.state.seq() != before {
            self.wrong(format!("{:?} was dropped and changed the state", entry.id));
        }
        if let Some(violation) = invariants::violations(&applied.state).pop() {
            self.wrong(format!("after {:?}: {violation}", entry.id));
        }
    }

    fn recorded(&mut self, entry: LogId, record: &Rc<Record>) {
        self.count.records += 1;
        let before = Seq(record.first.0 - 1);
        if *self.hashes.entry(before).or_insert(record.prev) != record.prev {
            self.wrong(format!("the chain is broken at event {}", record.first));
        }
        if self
            .records
            .last_key_value()
            .is_some_and(|(_, last)| last.last() != before)
        {
            self.wrong(format!("event {} does not follow the one before", record.first));
        }
        if record.time < self.time {
            self.wrong(format!("the recorded time goes back at event {}", record.first));
        }
        self.time = record.time;
        let sent_as = record.cause.command;
        let command = *self.aliases.get(&sent_as).unwrap_or(&sent_as);
        if !self.sent.contains_key(&command) {
            self.wrong(format!("nobody sent command {command}, which is recorded"));
        }
        let done = Done {
            first: record.first,
            last: record.last(),
            entry,
        };
        if let Some(before) = self.done.insert(command, done) {
            let (first, again) = (before.first, record.first);
            self.wrong(format!(
                "command {command} was done twice, at {first} and at {again}"
            ));
        }
        record.events.iter().for_each(|event| self.placement(event));
        self.records.insert(record.first, Rc::clone(record));
    }
}
