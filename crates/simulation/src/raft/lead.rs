//! Leading: replication, commit, and making sure of leadership.

use std::rc::Rc;

use super::disk::{Ballot, LogId};
use super::message::Message;
use super::{Leading, MOST, Out, REPLICAS, Raft, Role};
use crate::bug::Bug;

impl Raft {
    pub(super) fn lead(&mut self, out: &mut Vec<Out>) {
        let last = self.disk.last().index;
        self.vote(self.ballot(), true);
        self.role = Role::Leader(Box::new(Leading {
            first: last + 1,
            next: [last + 1; REPLICAS],
            matched: [0; REPLICAS],
            answered: [0; REPLICAS],
            round: 0,
        }));
        out.push(Out::Changed);
        self.propose(None, out);
    }

    /// Tells every other replica what it lacks, or that the leader is there.
    pub(crate) fn replicate(&mut self, out: &mut Vec<Out>) {
        let Role::Leader(leading) = &self.role else { return };
        let (round, next) = (leading.round, leading.next);
        for to in (0..REPLICAS).filter(|to| *to != self.me) {
            let message = self.for_follower(next[to], round);
            out.push(Out::Send { to, message });
        }
        self.commit(out);
    }

    fn for_follower(&self, next: u64, round: u64) -> Message {
        let ballot = self.ballot();
        match (self.disk.id(next - 1), &self.disk.snapshot) {
            (Some(prev), _) => Message::Append {
                ballot,
                prev,
                entries: self.disk.entries(next, MOST),
                committed: self.shows(),
                round,
            },
            (None, Some(snapshot)) => Message::Install {
                ballot,
                snapshot: Rc::clone(snapshot),
                round,
            },
            // A number beyond the log: it is asked what it has.
            (None, None) => Message::Append {
                ballot,
                prev: LogId::default(),
                entries: Vec::new(),
                committed: 0,
                round,
            },
        }
    }

    pub(super) fn appended(
        &mut self,
        from: usize,
        ballot: Ballot,
        (matches, upto): (bool, u64),
        round: u64,
        out: &mut Vec<Out>,
    ) {
        let (now, last) = (self.ballot(), self.disk.last().index);
        let Role::Leader(leading) = &mut self.role else {
            return;
        };
        if ballot != now {
            return;
        }
        leading.answered[from] = leading.answered[from].max(round);
        let (mut behind, round) = (false, leading.round);
        if matches {
            let news = upto > leading.matched[from];
            leading.matched[from] = leading.matched[from].max(upto);
            leading.next[from] = leading.matched[from] + 1;
            behind = news && leading.matched[from] < last;
        } else if upto + 1 < leading.next[from] {
            leading.next[from] = upto + 1;
            behind = true;
        }
        let next = leading.next[from];
        if behind {
            let message = self.for_follower(next, round);
            out.push(Out::Send { to: from, message });
        }
        self.commit(out);
        out.push(Out::Changed);
    }

    fn commit(&mut self, out: &mut Vec<Out>) {
        let Role::Leader(leading) = &self.role else { return };
        // Its own are counted before they are flushed; docs/adr/0022 says what holds until then.
        let own = self.disk.last().index;
        let mut have = leading.matched;
        have[self.me] = own;
        have.sort_unstable();
        let majority = have[REPLICAS / 2];
        let of_this_ballot = self
            .disk
            .id(majority)
            .is_some_and(|id| id.ballot == self.ballot());
        if majority > self.committed && of_this_ballot {
            self.committed = majority;
            out.push(Out::Changed);
        }
    }

    /// Begins to make sure that it leads: the round to wait for, and the entry that must be applied then.
    pub(crate) fn confirm(&mut self, out: &mut Vec<Out>) -> Option<(u64, u64)> {
        let committed = self.committed;
        let Role::Leader(leading) = &mut self.role else {
            return None;
        };
        leading.round += 1;
        let wanted = (leading.round, leading.first.max(committed));
        self.replicate(out);
        Some(wanted)
    }

    /// Whether a majority has answered that round.
    pub(crate) fn is_confirmed(&self, round: u64) -> bool {
        let Role::Leader(leading) = &self.role else {
            return false;
        };
        let others = leading
            .answered
            .iter()
            .filter(|answered| **answered >= round)
            .count();
        self.bug == Some(Bug::Confirm) || (others + 1) * 2 > REPLICAS
    }
}
