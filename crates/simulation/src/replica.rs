//! One replica: its Raft, what it has applied, its clock, its connection to the broker, and its office when it
//! leads.

use std::rc::Rc;
use std::time::Instant;

use chv_domain::{BatchOutcome, Projection, Record, RecordBody, Seq, Term};
use chv_scheduler::lead::publication::Link;
use chv_scheduler::liveness::Liveness;

use crate::bug::Bug;
use crate::office::Tenure;
use crate::packet::Beat;
use crate::raft::Raft;
use crate::raft::disk::{Ballot, Disk, Entry, LogId, Snapshot};
use crate::schedule::{MS, Micros};
use crate::world::{Applied, Event, World};

/// Between two heartbeats of a leader.
const HEARTBEAT: Micros = 50 * MS;

/// What waits for something to be applied or answered.
#[derive(Debug)]
pub(crate) struct Wait {
    pub(crate) until: Until,
    pub(crate) then: Then,
    pub(crate) deadline: Micros,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    /// The entry is applied, or another in its place.
    Entry(LogId),
    /// A majority has answered the round, and the entry is applied.
    Confirmed { round: u64, index: u64 },
    /// The event is applied.
    Seq(Seq),
}

#[derive(Debug, Clone)]
pub(crate) enum Then {
    /// The office's batch.
    Batch {
        office: u64,
        batch: u64,
    },
    Query {
        client: usize,
        asked: u64,
    },
    Slice {
        host: usize,
        asked: u64,
    },
    Heartbeat(Beat),
    Page {
        subscriber: usize,
        asked: u64,
        from: Seq,
    },
}

pub(crate) struct Replica {
    pub(crate) raft: Raft,
    pub(crate) up: bool,
    pub(crate) life: u64,
    pub(crate) paused_until: Micros,
    pub(crate) applied: Applied,
    pub(crate) last_applied: LogId,
    /// It applies nothing before then.
    applies_from: Micros,
    pub(crate) waits: Vec<Wait>,
    /// How far its clock is off, in microseconds.
    pub(crate) clock: i64,
    pub(crate) link: Link,
    /// When the last message that it sent is at the broker: they arrive in order.
    pub(crate) sent_until: Micros,
    pub(crate) liveness: Liveness,
    pub(crate) tenure: Tenure,
    /// What was last said of its leadership.
    told: Option<(Ballot, bool)>,
}

impl Replica {
    pub(crate) fn new(me: usize, bug: Option<Bug>) -> Self {
        Self {
            raft: Raft::new(me, bug),
            up: true,
            life: 0,
            paused_until: 0,
            applied: Applied::default(),
            last_applied: LogId::default(),
            applies_from: 0,
            waits: Vec::new(),
            clock: 0,
            link: Link {
                up: true,
                connects: 1,
            },
            sent_until: 0,
            liveness: Liveness::default(),
            tenure: Tenure::None,
            told: None,
        }
    }

    /// Whether it leads, and whether an entry of its own is applied.
    pub(crate) fn leadership(&self) -> Option<(Ballot, bool)> {
        let ballot = self.raft.leads()?;
        Some((ballot, self.last_applied.ballot == ballot))
    }

    pub(crate) fn restore(&mut self, snapshot: &Rc<Snapshot>) {
        if snapshot.last.index <= self.last_applied.index {
            return;
        }
        self.applied = Applied {
            state: snapshot.state.clone(),
            records: snapshot.records.clone(),
        };
        self.last_applied = snapshot.last;
    }

    /// Applies an entry as every replica does.
    fn apply(&mut self, entry: &Entry, bug: Option<Bug>) -> BatchOutcome {
        self.last_applied = entry.id;
        let Some(batch) = &entry.batch else {
            return BatchOutcome::Applied {
                last: self.applied.state.seq(),
            };
        };
        let mut batch = batch.clone();
        let mut term = Term(entry.id.ballot.term);
        if bug == Some(Bug::Fencing) {
            unfence(&mut batch.records, &self.applied.state);
            term = batch.records.first().map_or(term, |record| record.term);
        }
        let outcome = self.applied.state.apply_batch(term, &batch);
        if matches!(outcome, BatchOutcome::Applied { .. }) {
            self.applied
                .records
                .extend(batch.records.into_iter().map(Rc::new));
        }
        outcome
    }
}

/// Makes records fit that were decided on another state, as if nobody looked.
fn unfence(records: &mut [Record], state: &Projection) {
    let (mut next, mut prev) = (state.seq().next(), state.hash());
    for record in records {
        let body: &RecordBody = record;
        let body = RecordBody {
            first: next,
            prev,
            ..body.clone()
        };
        *record = Record::new(body);
        (next, prev) = (record.last().next(), record.hash());
    }
}

impl World {
    /// A replica's process begins.
    pub(crate) fn alive(&mut self, replica: usize) {
        let life = self.replicas[replica].life;
        self.schedule.after(HEARTBEAT, Event::Beat { replica, life });
        let after = self.chance.pick(0..self.weather.election);
        self.schedule.after(after, Event::Elect { replica, life });
        self.connected(replica);
    }

    pub(crate) fn crash(&mut self, replica: usize, power: bool) {
        if !self.replicas[replica].up {
            return;
        }
        self.note(|| {
            format!(
                "replica {replica} {}",
                if power { "loses power" } else { "is killed" }
            )
        });
        let down = &mut self.replicas[replica];
        down.up = false;
        down.life += 1;
        down.paused_until = 0;
        down.tenure = Tenure::None;
        down.waits.clear();
        down.link.up = false;
        down.raft.disk.crash(power, &mut self.chance);
    }

    pub(crate) fn restart(&mut self, replica: usize) {
        if self.replicas[replica].up {
            return;
        }
        let bug = self.bug;
        let mut out = Vec::new();
        let there = &mut self.replicas[replica];
        let disk: Disk = std::mem::take(&mut there.raft.disk);
        let snapshot = disk.snapshot.clone();
        let (life, clock) = (there.life, there.clock);
        let connects = there.link.connects + 1;
        *there = Replica {
            raft: Raft::start(replica, disk, bug, &mut out),
            life,
            clock,
            link: Link { up: true, connects },
            ..Replica::new(replica, bug)
        };
        if let Some(snapshot) = snapshot {
            there.restore(&snapshot);
        }
        self.note(|| format!("replica {replica} starts"));
        self.alive(replica);
        self.carry_out(replica, out);
    }

    pub(crate) fn election_timer(&mut self, replica: usize) {
        let (life, heard) = {
            let there = &mut self.replicas[replica];
            (there.life, std::mem::take(&mut there.raft.heard))
        };
        if !heard && self.replicas[replica].raft.leads().is_none() {
            let mut out = Vec::new();
            self.replicas[replica].raft.stand(&mut out);
            self.carry_out(replica, out);
        }
        let shortest = self.weather.election;
        let after = self.chance.pick(shortest..shortest * 2);
        self.schedule.after(after, Event::Elect { replica, life });
    }

    pub(crate) fn heartbeat_timer(&mut self, replica: usize) {
        let life = self.replicas[replica].life;
        let mut out = Vec::new();
        self.replicas[replica].raft.replicate(&mut out);
        self.carry_out(replica, out);
        self.schedule.after(HEARTBEAT, Event::Beat { replica, life });
        self.changed(replica);
    }

    /// What is committed, or who leads, may have changed: applies, perhaps later, and tells.
    pub(crate) fn changed(&mut self, replica: usize) {
        let life = self.replicas[replica].life;
        let now = self.schedule.now;
        if self.chance.is(self.weather.late) {
            let after = self.chance.pick(MS..400 * MS);
            let there = &mut self.replicas[replica];
            there.applies_from = there.applies_from.max(now + after);
            self.schedule.after(after, Event::Look { replica, life });
        }
        while now >= self.replicas[replica].applies_from && self.apply_next(replica) {}
        self.settle_waits(replica);
        let there = &mut self.replicas[replica];
        let now = there.leadership();
        if now != there.told {
            there.told = now;
            // Those who watch the leadership see it a little later.
            let after = self.chance.pick(0..5 * MS);
            self.schedule.after(after, Event::Look { replica, life });
        }
    }

    fn apply_next(&mut self, replica: usize) -> bool {
        let there = &mut self.replicas[replica];
        let next = there.last_applied.index + 1;
        if next > there.raft.may_apply() {
            return false;
        }
        let Some(entry) = there.raft.disk.entry(next).cloned() else {
            return false;
        };
        let outcome = there.apply(&entry, self.bug);
        self.oracle.applied(replica, &entry, outcome, &there.applied);
        self.note(|| format!("replica {replica} applies {:?}: {outcome:?}", entry.id));
        self.entry_applied(replica, entry.id, outcome);
        if self.chance.is(25) {
            self.snapshot(replica);
        }
        true
    }

    fn snapshot(&mut self, replica: usize) {
        let there = &mut self.replicas[replica];
        let back = self.chance.pick(0..6).min(there.last_applied.index);
        let purge = there.raft.disk.id(there.last_applied.index - back);
        let purge = purge.unwrap_or(there.raft.disk.purged);
        let snapshot = Snapshot {
            last: there.last_applied,
            state: there.applied.state.clone(),
            records: there.applied.records.clone(),
        };
        there.raft.disk.keep(Rc::new(snapshot), purge);
    }

    /// An instant of this replica's monotonic clock.
    pub(crate) fn instant(&self) -> Instant {
        self.oracle.begun + std::time::Duration::from_micros(self.schedule.now)
    }
}
