//! The way of a command through a leader's office: taken in, decided, appended, answered.

use std::rc::Rc;

use chv_domain::{Batch, BatchOutcome, Context, Projection, Record, ReplicaId, Replicas, Submission, Term};
use chv_proto::v1;
use chv_scheduler::lead::deciding::{Verdict, after, decide_one};

use crate::bug::Bug;
use crate::office::{OfficeEvent, Tenure};
use crate::packet::{Answer, Seen, Sender, ToUser};
use crate::raft::disk::LogId;
use crate::replica::{Then, Until, Wait};
use crate::schedule::{MS, Micros};
use crate::world::World;

/// As the scheduler has it.
const CONFIRM: Micros = 2000 * MS;

/// Shorter than the event log has it, so that it happens within a run.
const APPEND: Micros = 900 * MS;

/// The most commands in one batch.
const MOST: usize = 6;

/// How many entries may be under way, as the scheduler has it.
const UNDER_WAY: usize = 4;

/// How long the next entry may wait for the publisher to come to the last ones, as the scheduler has it.
const PUBLISHING: Micros = 250 * MS;

pub(crate) struct Queued {
    pub(crate) from: Sender,
    /// As it was sent.
    pub(crate) sent: Rc<Submission>,
    /// As it is decided.
    submission: Submission,
}

/// An entry that was decided.
pub(crate) struct UnderWay {
    batch: u64,
    queued: Vec<Queued>,
    verdicts: Vec<Verdict>,
    records: Vec<Record>,
    state: Projection,
    on: Vec<Seen>,
    /// What became of it; told in the order of the entries.
    ended: Option<Result<(), &'static str>>,
}

impl World {
    /// A command reaches a replica, which takes it when its office is open.
    pub(crate) fn intake(&mut self, replica: usize, from: Sender, sent: Rc<Submission>) {
        let mut submission = (*sent).clone();
        if self.bug == Some(Bug::Dedupe) {
            submission.id = self.oracle.alias(submission.id);
        }
        let after = self.chance.pick(0..300);
        let Some(office) = self.office(replica).filter(|office| !office.closing) else {
            return;
        };
        office.queue.push_back(Queued {
            from,
            sent,
            submission,
        });
        let serial = office.serial;
        self.at_office_after(replica, after, OfficeEvent::Decide(serial));
    }

    pub(crate) fn decide(&mut self, replica: usize, serial: u64) {
        let (instant, link) = (self.instant(), self.replicas[replica].link);
        let now = self.clock(self.replicas[replica].clock);
        let replicas = Replicas::alone(ReplicaId::new(replica as u64 + 1).expect("it is not zero"));
        let there = &mut self.replicas[replica];
        if link.up {
            there.liveness.connected(link.connects, instant);
        }
        let Tenure::Open(office) = &mut there.tenure else {
            return;
        };
        let room = office.deciding.is_none() && office.under_way.len() < UNDER_WAY && !office.unpublished;
        if office.serial != serial || !room || office.queue.is_empty() || office.closing {
            return;
        }
        let head = office.under_way.back().map(|last| &last.state);
        let mut state = head.unwrap_or(&there.applied.state).clone();
        let alive = there.liveness.alive(&state, instant);
        let context = Context {
            now,
            term: Term(office.term),
            alive: &alive,
            replicas: &replicas,
        };
        let most = office.queue.len().min(MOST);
        let queued: Vec<Queued> = office.queue.drain(..most).collect();
        let (mut verdicts, mut records, mut on) = (Vec::new(), Vec::new(), Vec::new());
        for Queued { submission, .. } in &queued {
            let seen = Seen::of(&state);
            let verdict = decide_one(&mut state, &mut office.answered, submission, context, instant);
            match &verdict.record {
                Some(record) => {
                    records.push(record.clone());
                    on.push(seen);
                }
                None => on.push(office.answered_on.entry(submission.id).or_insert(seen).clone()),
            }
            verdicts.push(verdict);
        }
        office.batches += 1;
        office.deciding = Some(UnderWay {
            batch: office.batches,
            queued,
            verdicts,
            records,
            state,
            on,
            ended: None,
        });
        // A process can stand still for long between deciding and appending.
        let after = match self.chance.is(self.weather.late) {
            true => self.chance.pick(MS..2500 * MS),
            false => self.chance.pick(0..MS),
        };
        if after > 300 * MS {
            self.deciding(replica);
        }
        self.at_office_after(replica, after, OfficeEvent::Decided(serial));
    }

    pub(crate) fn decided(&mut self, replica: usize, serial: u64) {
        let now = self.schedule.now;
        let there = &mut self.replicas[replica];
        let Tenure::Open(office) = &mut there.tenure else {
            return;
        };
        let Some(decided) = office.deciding.take_if(|_| office.serial == serial) else {
            return;
        };
        let (mut out, number) = (Vec::new(), decided.batch);
        let (until, limit) = if decided.records.is_empty() {
            let round = there.raft.confirm(&mut out);
            (
                round.map(|(round, index)| Until::Confirmed { round, index }),
                CONFIRM,
            )
        } else {
            let batch = Batch {
                published: office.publication.published(),
                records: decided.records.clone(),
            };
            let entry = there.raft.propose(Some(batch), &mut out);
            entry
                .into_iter()
                .for_each(|entry| self.oracle.proposed(entry, serial));
            (entry.map(Until::Entry), APPEND)
        };
        office.under_way.push_back(decided);
        let closing = office.closing;
        match until {
            Some(until) => {
                let then = Then::Batch {
                    office: serial,
                    batch: number,
                };
                let deadline = now + limit;
                there.waits.push(Wait {
                    until,
                    then,
                    deadline,
                });
                self.look_after(replica, limit);
            }
            None => self.batch_ends(replica, serial, number, Err("not_leader")),
        }
        self.carry_out(replica, out);
        if closing {
            self.close(replica);
        } else {
            self.at_office_after(replica, 0, OfficeEvent::Decide(serial));
        }
    }

    /// An entry was applied: whoever waits for it, or for another in its place, is told.
    pub(crate) fn entry_applied(&mut self, replica: usize, id: LogId, outcome: BatchOutcome) {
        let waits = &mut self.replicas[replica].waits;
        let mine = |wait: &Wait| matches!(wait.until, Until::Entry(waited) if waited.index == id.index);
        let Some(at) = waits.iter().position(mine) else {
            return;
        };
        let wait = waits.remove(at);
        let (Until::Entry(waited), Then::Batch { office, batch }) = (wait.until, wait.then) else {
            return;
        };
        let result = match outcome {
            _ if waited != id => Err("unavailable"),
            BatchOutcome::Applied { .. } => Ok(()),
            BatchOutcome::Dropped => {
                self.oracle.count.dropped += 1;
                Err("not_leader")
            }
        };
        self.batch_ends(replica, office, batch, result);
    }

    /// What came of an entry is known, or was waited for too long. Entries end in their order.
    pub(crate) fn batch_ends(
        &mut self,
        replica: usize,
        serial: u64,
        batch: u64,
        result: Result<(), &'static str>,
    ) {
        let Some(office) = self.office_numbered(replica, serial) else {
            return;
        };
        let ended = office.under_way.iter_mut().find(|entry| entry.batch == batch);
        ended.into_iter().for_each(|entry| entry.ended = Some(result));
        while let Some(office) = self.office_numbered(replica, serial)
            && let Some(result) = office.under_way.front().and_then(|first| first.ended)
            && let Some(first) = office.under_way.pop_front()
        {
            self.entry_ends(replica, serial, first, result);
        }
    }

    fn entry_ends(&mut self, replica: usize, serial: u64, entry: UnderWay, result: Result<(), &'static str>) {
        let UnderWay {
            queued,
            verdicts,
            records,
            state,
            on,
            ..
        } = entry;
        let Some(office) = self.office_numbered(replica, serial) else {
            return;
        };
        let closing = office.closing;
        let before = after(&mut office.failed, result, &records);
        let result = match self.bug {
            Some(Bug::Rest) => result,
            _ => before,
        };
        for ((queued, verdict), on) in queued.into_iter().zip(verdicts).zip(on) {
            let answer = match result {
                Ok(()) => verdict.answer,
                Err(code) => Err(again(code)),
            };
            self.answer(replica, queued.from, queued.sent, answer, serial, Some(on));
        }
        if result.is_err() || closing {
            return self.close(replica);
        }
        if !records.is_empty() {
            match self.chance.is(30) {
                true => self.wait_for_publisher(replica, records, state),
                false => self.tell_publisher(replica, records, state),
            }
        }
        self.at_office_after(replica, 0, OfficeEvent::Decide(serial));
    }

    /// The publisher has no room for what was committed. It is waited for, if it is not already, and no entry is begun
    /// meanwhile; what it has no room for in the end it reads from the log.
    fn wait_for_publisher(&mut self, replica: usize, records: Vec<Record>, state: Projection) {
        let takes = self.chance.pick(0..2 * PUBLISHING);
        let Some(office) = self.office(replica).filter(|office| !office.unpublished) else {
            return;
        };
        office.unpublished = true;
        let serial = office.serial;
        if takes < PUBLISHING {
            self.hand_to_publisher(replica, takes, records, state);
        }
        self.at_office_after(replica, takes.min(PUBLISHING), OfficeEvent::Waited(serial));
    }

    /// The publisher was waited for.
    pub(crate) fn waited(&mut self, replica: usize, serial: u64) {
        if let Some(office) = self.office_numbered(replica, serial) {
            office.unpublished = false;
            self.decide(replica, serial);
        }
    }

    fn tell_publisher(&mut self, replica: usize, records: Vec<Record>, state: Projection) {
        let (now, took) = (self.schedule.now, self.chance.pick(0..2 * MS));
        let Some(office) = self.office(replica) else {
            return;
        };
        office.publish_at = office.publish_at.max(now + took);
        let after = office.publish_at - now;
        self.hand_to_publisher(replica, after, records, state);
    }

    fn hand_to_publisher(&mut self, replica: usize, after: Micros, records: Vec<Record>, state: Projection) {
        let Some(office) = self.office(replica) else {
            return;
        };
        let event = OfficeEvent::Committed {
            office: office.serial,
            records,
            state: Box::new(state),
        };
        self.at_office_after(replica, after, event);
    }

    pub(crate) fn answer(
        &mut self,
        replica: usize,
        to: Sender,
        submission: Rc<Submission>,
        result: Result<v1::Accepted, v1::Refused>,
        office: u64,
        on: Option<Seen>,
    ) {
        let answer = Answer {
            submission,
            result,
            office,
            on,
        };
        match to {
            Sender::Leader => self.moved(replica, &answer),
            Sender::Client(_) | Sender::Host(_) => {
                self.tell_user(replica, ToUser::Answer(to, Box::new(answer)));
            }
        }
    }
}

/// A refusal that says nothing about the command.
pub(crate) fn again(code: &str) -> v1::Refused {
    v1::Refused {
        retryable: true,
        ..chv_proto::convert::refused(code, "send it again, with the same id", "")
    }
}
