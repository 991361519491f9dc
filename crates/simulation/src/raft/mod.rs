//! A model of Raft as openraft 0.9 does it: terms with leaders after each other, elections, majority commit, and
//! a disk that loses what was not flushed. It is not what is proved: it is what the rest has to live with.
//!
//! It keeps to docs/adr/0022: a leader counts its own entries before they are flushed, and shows them only after.

pub(crate) mod disk;
pub(crate) mod message;

mod follow;
mod lead;

use std::collections::BTreeSet;
use std::rc::Rc;

use chv_domain::Batch;

use crate::bug::Bug;
use disk::{Ballot, Disk, Entry, LogId, Snapshot, Vote};
use message::Message;

/// How many replicas there are.
pub(crate) const REPLICAS: usize = 3;

/// The most entries in one message.
const MOST: usize = 8;

/// What is to be done for a replica.
#[derive(Debug)]
pub(crate) enum Out {
    Send {
        to: usize,
        message: Message,
    },
    /// Flush this write, and tell.
    Flush(u64),
    /// Whether it leads, and in which ballot, or what is committed, may have changed.
    Changed,
    /// A snapshot of another replica is to be taken over.
    Restore(Rc<Snapshot>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Role {
    Follower,
    Candidate(BTreeSet<usize>),
    Leader(Box<Leading>),
}

/// What a leader knows of the others.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Leading {
    /// The first entry of its own.
    first: u64,
    next: [u64; REPLICAS],
    matched: [u64; REPLICAS],
    /// The last round of asking that each has answered.
    answered: [u64; REPLICAS],
    round: u64,
}

/// One replica's Raft.
#[derive(Debug)]
pub(crate) struct Raft {
    pub(crate) me: usize,
    pub(crate) disk: Disk,
    bug: Option<Bug>,
    role: Role,
    committed: u64,
    /// What is said once all that was written is flushed.
    unsaid: Vec<(usize, Message)>,
    /// Whether a leader was heard since the last look.
    pub(crate) heard: bool,
}

impl Raft {
    pub(crate) fn new(me: usize, bug: Option<Bug>) -> Self {
        Self::start(me, Disk::default(), bug, &mut Vec::new())
    }

    /// From what is on the disk.
    pub(crate) fn start(me: usize, mut disk: Disk, bug: Option<Bug>, out: &mut Vec<Out>) -> Self {
        let Vote { ballot, committed } = disk.vote;
        let led = committed && ballot.replica == me && ballot.term > 0;
        if led && bug != Some(Bug::Gate) {
            // As one that only stood in that term: it follows whoever was elected since.
            disk.vote.committed = false;
        }
        let committed = disk.snapshot.as_ref().map_or(0, |snapshot| snapshot.last.index);
        let mut raft = Self {
            me,
            disk,
            bug,
            role: Role::Follower,
            committed,
            unsaid: Vec::new(),
            heard: false,
        };
        if led && bug == Some(Bug::Gate) {
            // As openraft has it: who led goes on leading.
            raft.lead(out);
        }
        raft
    }

    fn ballot(&self) -> Ballot {
        self.disk.vote.ballot
    }

    /// The ballot in which it leads.
    pub(crate) fn leads(&self) -> Option<Ballot> {
        matches!(self.role, Role::Leader(_)).then(|| self.ballot())
    }

    /// The last entry that may be applied here.
    pub(crate) fn may_apply(&self) -> u64 {
        match self.bug {
            Some(Bug::Gate | Bug::Flush) => self.committed,
            _ => self.committed.min(self.disk.flushed()),
        }
    }

    /// What a leader tells others to be committed.
    fn shows(&self) -> u64 {
        self.may_apply()
    }

    /// Stands for election.
    pub(crate) fn stand(&mut self, out: &mut Vec<Out>) {
        if self.leads().is_some() {
            return;
        }
        let ballot = Ballot {
            term: self.ballot().term + 1,
            replica: self.me,
        };
        self.vote(ballot, false);
        self.role = Role::Candidate(BTreeSet::from([self.me]));
        let last = self.disk.last();
        self.tell_all(&Message::AskVote { ballot, last }, out);
        out.push(Out::Changed);
    }

    pub(crate) fn hear(&mut self, from: usize, message: Message, out: &mut Vec<Out>) {
        match message {
            Message::AskVote { ballot, last } => self.asked(from, ballot, last, out),
            Message::Voted { ballot, granted } => self.voted(from, ballot, granted, out),
            Message::Append {
                ballot,
                prev,
                entries,
                committed,
                round,
            } => {
                if self.follows(from, ballot, out) {
                    self.append(from, prev, entries, committed, round, out);
                }
            }
            Message::Install {
                ballot,
                snapshot,
                round,
            } => {
                if self.follows(from, ballot, out) {
                    self.install(from, snapshot, round, out);
                }
            }
            Message::Appended {
                ballot,
                matches,
                upto,
                round,
            } => self.appended(from, ballot, (matches, upto), round, out),
            Message::Outvoted { ballot } => {
                if ballot > self.ballot() {
                    self.vote(ballot, false);
                    self.follow(out);
                }
            }
        }
    }

    /// A write is flushed: what waited for that is said.
    pub(crate) fn flushed(&mut self, write: u64, out: &mut Vec<Out>) {
        self.disk.flush(write);
        if self.disk.all_flushed() {
            for (to, message) in std::mem::take(&mut self.unsaid) {
                out.push(Out::Send { to, message });
            }
        }
        out.push(Out::Changed);
    }

    /// Says something that claims that entries are on the disk.
    fn say_flushed(&mut self, to: usize, message: Message, out: &mut Vec<Out>) {
        if self.bug == Some(Bug::Flush) || self.disk.all_flushed() {
            out.push(Out::Send { to, message });
        } else {
            self.unsaid.push((to, message));
        }
    }

    fn vote(&mut self, ballot: Ballot, committed: bool) {
        self.disk.vote = Vote { ballot, committed };
    }

    fn tell_all(&self, message: &Message, out: &mut Vec<Out>) {
        for to in (0..REPLICAS).filter(|to| *to != self.me) {
            out.push(Out::Send {
                to,
                message: message.clone(),
            });
        }
    }

    fn write(&mut self, entry: Rc<Entry>, out: &mut Vec<Out>) {
        let write = self.disk.append(entry);
        out.push(Out::Flush(write));
    }

    /// Appends a batch, when it leads; the entry's identity.
    pub(crate) fn propose(&mut self, batch: Option<Batch>, out: &mut Vec<Out>) -> Option<LogId> {
        let ballot = self.leads()?;
        let id = LogId {
            ballot,
            index: self.disk.last().index + 1,
        };
        self.write(Rc::new(Entry { id, batch }), out);
        self.replicate(out);
        Some(id)
    }
}
