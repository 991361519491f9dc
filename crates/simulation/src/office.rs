//! A leader's office: when it opens and closes, and the way of a command through it. The rules are the
//! scheduler's own; what is here stands for its tasks and channels.

use std::collections::{BTreeMap, VecDeque};

use chv_domain::{CommandId, HostId, Projection, Record, VmId};
use chv_scheduler::lead::answered::Answered;
use chv_scheduler::lead::leases::Leases;
use chv_scheduler::lead::publication::Publication;

use crate::bug::Bug;
use crate::deciding::{Queued, UnderWay, again};
use crate::packet::Seen;
use crate::schedule::{MS, Micros};
use crate::world::{Event, World};

/// As the scheduler has them.
const SETTLE: Micros = 1000 * MS;
const PAUSE: Micros = 100 * MS;

#[derive(Debug)]
pub(crate) enum OfficeEvent {
    Decide(u64),
    /// The batch that is being decided is decided.
    Decided(u64),
    /// What was committed reaches the publisher.
    Committed {
        office: u64,
        records: Vec<Record>,
        state: Box<Projection>,
    },
    /// The publisher was waited for.
    Waited(u64),
    Check(u64),
    Tick(u64),
    /// Looks for hosts whose lease is over.
    FailOver(u64),
}

pub(crate) enum Tenure {
    None,
    /// It leads; what its log had then is not yet all applied.
    Settling {
        term: u64,
        index: u64,
        deadline: Micros,
    },
    Open(Box<Office>),
    Resting(Micros),
}

pub(crate) struct Office {
    pub(crate) serial: u64,
    pub(crate) term: u64,
    pub(crate) queue: VecDeque<Queued>,
    pub(crate) answered: Answered,
    pub(crate) answered_on: BTreeMap<CommandId, Seen>,
    pub(crate) publication: Publication,
    pub(crate) batches: u64,
    /// What is being decided, and not yet handed to the log.
    pub(crate) deciding: Option<UnderWay>,
    pub(crate) under_way: VecDeque<UnderWay>,
    /// Why the first entry failed that did.
    pub(crate) failed: Option<&'static str>,
    pub(crate) closing: bool,
    pub(crate) publish_at: Micros,
    /// What was committed waits for the publisher, and nothing is decided meanwhile.
    pub(crate) unpublished: bool,
    pub(crate) leases: Leases,
    /// How many commands of its own are not answered yet.
    pub(crate) own: usize,
    /// What was last placed elsewhere.
    pub(crate) moved: Option<(HostId, VmId)>,
}

impl World {
    pub(crate) fn office(&mut self, replica: usize) -> Option<&mut Office> {
        match &mut self.replicas[replica].tenure {
            Tenure::Open(office) => Some(office),
            _ => None,
        }
    }

    pub(crate) fn office_numbered(&mut self, replica: usize, serial: u64) -> Option<&mut Office> {
        self.office(replica).filter(|office| office.serial == serial)
    }

    /// The replica sees who leads, and goes on applying.
    pub(crate) fn look(&mut self, replica: usize) {
        self.changed(replica);
        let now = self.schedule.now;
        let fenced = self.bug != Some(Bug::Fencing);
        let there = &self.replicas[replica];
        let leads = there.leadership();
        match &there.tenure {
            Tenure::None => {
                if let Some((ballot, ready)) = leads
                    && (ready || !fenced)
                {
                    let index = there.raft.disk.last().index;
                    let (term, deadline) = (ballot.term, now + SETTLE);
                    self.replicas[replica].tenure = Tenure::Settling {
                        term,
                        index,
                        deadline,
                    };
                    self.look_after(replica, SETTLE);
                    self.look_after(replica, 0);
                }
            }
            Tenure::Settling {
                term,
                index,
                deadline,
            } => {
                if there.last_applied.index >= *index || !fenced {
                    let term = *term;
                    self.open(replica, term);
                } else if now >= *deadline {
                    self.replicas[replica].tenure = Tenure::None;
                    self.look_after(replica, MS);
                }
            }
            Tenure::Open(office) => {
                let still =
                    leads.is_some_and(|(ballot, ready)| ballot.term == office.term && (ready || !fenced));
                if !still {
                    self.close(replica);
                }
            }
            Tenure::Resting(until) => {
                if now >= *until {
                    self.replicas[replica].tenure = Tenure::None;
                    self.look_after(replica, 0);
                }
            }
        }
    }

    pub(crate) fn look_after(&mut self, replica: usize, after: Micros) {
        let life = self.replicas[replica].life;
        self.schedule.after(after, Event::Look { replica, life });
    }

    pub(crate) fn at_office_after(&mut self, replica: usize, after: Micros, event: OfficeEvent) {
        let life = self.replicas[replica].life;
        self.schedule.after(after, Event::Office { replica, life, event });
    }

    fn open(&mut self, replica: usize, term: u64) {
        self.oracle.offices += 1;
        let serial = self.oracle.offices;
        let leases = self.leases();
        let there = &mut self.replicas[replica];
        let office = Office {
            serial,
            term,
            queue: VecDeque::new(),
            answered: Answered::default(),
            answered_on: BTreeMap::new(),
            publication: Publication::new(there.applied.state.clone(), there.link),
            batches: 0,
            deciding: None,
            under_way: VecDeque::new(),
            failed: None,
            closing: false,
            publish_at: 0,
            unpublished: false,
            leases,
            own: 0,
            moved: None,
        };
        there.tenure = Tenure::Open(Box::new(office));
        self.note(|| format!("replica {replica} opens office {serial} in term {term}"));
        self.catch_up(replica);
        self.at_office_after(replica, 500 * MS, OfficeEvent::Check(serial));
        self.at_office_after(replica, 0, OfficeEvent::Tick(serial));
        self.at_office_after(replica, 200 * MS, OfficeEvent::FailOver(serial));
        self.look_after(replica, 0);
    }

    pub(crate) fn close(&mut self, replica: usize) {
        let Some(office) = self.office(replica) else {
            return;
        };
        if !office.closing {
            office.closing = true;
            let left: Vec<Queued> = office.queue.drain(..).collect();
            let serial = office.serial;
            self.note(|| format!("replica {replica} closes office {serial}"));
            for queued in left {
                self.answer(
                    replica,
                    queued.from,
                    queued.sent,
                    Err(again("not_leader")),
                    0,
                    None,
                );
            }
        }
        // What is under way may still be committed: it is waited for, and answered.
        if self
            .office(replica)
            .is_some_and(|office| office.deciding.is_none() && office.under_way.is_empty())
        {
            let until = self.schedule.now + PAUSE;
            self.replicas[replica].tenure = Tenure::Resting(until);
            self.look_after(replica, PAUSE);
        }
    }

    pub(crate) fn at_office(&mut self, replica: usize, event: OfficeEvent) {
        match event {
            OfficeEvent::Decide(office) => self.decide(replica, office),
            OfficeEvent::Decided(office) => self.decided(replica, office),
            OfficeEvent::Waited(office) => self.waited(replica, office),
            OfficeEvent::Committed {
                office,
                records,
                state,
            } => {
                if self
                    .office_numbered(replica, office)
                    .is_some_and(|office| !office.closing)
                {
                    self.publish_batch(replica, &records, *state);
                }
            }
            OfficeEvent::Check(office) => {
                if self
                    .office_numbered(replica, office)
                    .is_some_and(|office| !office.closing)
                {
                    self.check_publication(replica);
                    self.at_office_after(replica, 500 * MS, OfficeEvent::Check(office));
                }
            }
            OfficeEvent::Tick(office) => {
                if self
                    .office_numbered(replica, office)
                    .is_some_and(|office| !office.closing)
                {
                    self.tick(replica);
                    self.at_office_after(replica, 1000 * MS, OfficeEvent::Tick(office));
                }
            }
            OfficeEvent::FailOver(office) => {
                if self
                    .office_numbered(replica, office)
                    .is_some_and(|office| !office.closing)
                {
                    self.fail_over(replica);
                    self.at_office_after(replica, 500 * MS, OfficeEvent::FailOver(office));
                }
            }
        }
    }
}
