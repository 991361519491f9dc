//! What must hold, looked at from outside: the one log that was ever committed, what was answered about it, and
//! what of it the broker and its subscribers had. Knows everything, and takes part in nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Instant;

use chv_domain::spec::OnHostLoss;
use chv_domain::{
    BatchOutcome, CommandId, Event, Projection, Record, RecordHash, Seq, Submission, Timestamp, VmId, VmSpec,
    invariants,
};
use chv_proto::v1;
use ulid::Ulid;

use crate::packet::{Answer, Seen};
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
        let spec = serde_json::from_str(r#"{"vcpus":1,"memory":"64MiB","boot":{"kernel":"k"}}"#);
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

    /// Only what asks for failover is ever placed a second time.
    fn placement(&mut self, event: &Event) {
        match event {
            Event::VmCreated { vm, spec, .. } => {
                self.asks.insert(*vm, spec.on_host_loss == OnHostLoss::Failover);
            }
            Event::VmPlaced { vm, .. } if !self.placed.insert(*vm) => {
                self.count.failovers += 1;
                if self.asks.get(vm) != Some(&true) {
                    self.wrong(format!(
                        "{vm} does not ask for failover, and was placed elsewhere"
                    ));
                }
            }
            _ => {}
        }
    }

    /// A guest starts: no other host may run it.
    pub(crate) fn guest_starts(&mut self, vm: VmId, host: usize) {
        self.count.starts += 1;
        if let Some(other) = self.guests.insert(vm, host) {
            self.wrong(format!(
                "{vm} starts on host {host} while it runs on host {other}"
            ));
        }
    }

    pub(crate) fn guest_ends(&mut self, vm: VmId, host: usize) {
        if self.guests.get(&vm) == Some(&host) {
            self.guests.remove(&vm);
        }
    }

    /// An answer reached its sender.
    pub(crate) fn answered(&mut self, answer: &Answer) {
        if answer.result.as_ref().is_err_and(|refused| refused.retryable) {
            return;
        }
        self.count.answers += 1;
        let wrong = match &answer.result {
            Ok(accepted) if accepted.last_seq > 0 => self.accepted(answer, accepted),
            _ => self.without_event(answer),
        };
        if let Err(wrong) = wrong {
            self.wrong(format!("command {}: {wrong}", answer.submission.id));
        }
    }

    fn accepted(&mut self, answer: &Answer, accepted: &v1::Accepted) -> Result<(), Violation> {
        let id = answer.submission.id;
        let (first, last) = (Seq(accepted.first_seq), Seq(accepted.last_seq));
        self.count.repeats += u64::from(accepted.repeated_answer);
        let Some(done) = self.done.get(&id) else {
            return Err(format!("acknowledged as {first} to {last}, and not in the log"));
        };
        if (done.first, done.last) != (first, last) {
            return Err(format!(
                "acknowledged as {first}, and in the log as {}",
                done.first
            ));
        }
        let Some(sent) = self.sent.get(&id) else {
            return Err("nobody sent it".to_owned());
        };
        if first <= sent.floor {
            return Err(format!(
                "recorded as {first}, before it was sent at {}",
                sent.floor
            ));
        }
        if !sent.without_event.is_empty() {
            self.count.decided_anew += 1;
        }
        if let Some(office) = self.proposed.get(&done.entry)
            && let Some(answer) = sent.without_event.get(office)
        {
            return Err(format!("one leader answered {answer:?} and did it"));
        }
        self.acknowledged = self.acknowledged.max(last);
        Ok(())
    }

    fn without_event(&mut self, answer: &Answer) -> Result<(), Violation> {
        let id = answer.submission.id;
        let words = match &answer.result {
            Ok(_) => "unchanged".to_owned(),
            Err(refused) => refused.code.clone(),
        };
        let Some(on) = &answer.on else {
            return Err("a final answer without a decision".to_owned());
        };
        let Some(sent) = self.sent.get_mut(&id) else {
            return Err("nobody sent it".to_owned());
        };
        let floor = sent.floor;
        let first = sent.without_event.entry(answer.office).or_insert(words.clone());
        if *first != words {
            return Err(format!("one leader answered {first:?} and then {words:?}"));
        }
        // When a command was done too long ago to be known, its retry is refused for that.
        if let Some(done) = self.done.get(&id)
            && done.first <= on.seq
            && words != "clock"
        {
            return Err(format!(
                "answered {words:?}, though it was done as {}",
                done.first
            ));
        }
        self.read(floor, on);
        Ok(())
    }

    /// Somebody was told of a state, who may rely on its being at least `floor`.
    pub(crate) fn read(&mut self, floor: Seq, seen: &Seen) {
        self.count.reads += 1;
        if seen.seq < floor {
            self.wrong(format!(
                "event {floor} was known, and a later answer knows only {}",
                seen.seq
            ));
        }
        if self.hashes.get(&seen.seq) != Some(&seen.hash) {
            self.wrong(format!(
                "an answer is about a state at {} that never was committed",
                seen.seq
            ));
        }
    }

    /// A leader believes that every event up to here reached the broker.
    pub(crate) fn published(&mut self, upto: Seq) {
        if upto > self.broker_upto {
            let lacking = self.broker_upto.next();
            self.wrong(format!(
                "event {lacking} never reached the broker, and {upto} counts as published"
            ));
        }
    }

    /// The broker has an event.
    pub(crate) fn broker_has(&mut self, message: &v1::EventMessage) {
        self.delivered(message);
        self.broker.insert(Seq(message.seq));
        while self.broker.remove(&self.broker_upto.next()) {
            self.broker_upto = self.broker_upto.next();
        }
    }

    /// The first event that the broker never had.
    pub(crate) fn unpublished(&self) -> Option<Seq> {
        (self.broker_upto < self.state().seq()).then(|| self.broker_upto.next())
    }

    /// Somebody was shown an event.
    pub(crate) fn delivered(&mut self, message: &v1::EventMessage) {
        let seq = Seq(message.seq);
        let record = self.records.range(..=seq).next_back().map(|(_, record)| record);
        let same = record.is_some_and(|record| {
            let event = record.numbered().find(|(number, _)| *number == seq);
            event.is_some_and(|(_, event)| event.kind() == message.kind)
                && record.term.0 == message.term
                && record.time.0 == message.time_us
                && record.cause.command.to_string() == message.command
        });
        if !same {
            self.wrong(format!("event {seq} was shown as it is not in the log"));
        }
    }
}
