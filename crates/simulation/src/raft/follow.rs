//! Voting and following.

use std::rc::Rc;

use super::disk::{Ballot, Entry, LogId, Snapshot};
use super::message::Message;
use super::{Out, REPLICAS, Raft, Role};

impl Raft {
    pub(super) fn asked(&mut self, from: usize, ballot: Ballot, last: LogId, out: &mut Vec<Out>) {
        let granted = ballot >= self.ballot() && last >= self.disk.last();
        if granted && ballot > self.ballot() {
            self.vote(ballot, false);
            self.follow(out);
        }
        let message = match granted || ballot >= self.ballot() {
            true => Message::Voted { ballot, granted },
            false => Message::Outvoted {
                ballot: self.ballot(),
            },
        };
        out.push(Out::Send { to: from, message });
    }

    pub(super) fn voted(&mut self, from: usize, ballot: Ballot, granted: bool, out: &mut Vec<Out>) {
        let mine = ballot == self.ballot();
        if let Role::Candidate(votes) = &mut self.role
            && granted
            && mine
        {
            votes.insert(from);
            if votes.len() * 2 > REPLICAS {
                self.lead(out);
            }
        }
    }

    pub(super) fn follow(&mut self, out: &mut Vec<Out>) {
        self.role = Role::Follower;
        out.push(Out::Changed);
    }

    /// Whether what a leader of `ballot` says counts here; then it is followed.
    pub(super) fn follows(&mut self, from: usize, ballot: Ballot, out: &mut Vec<Out>) -> bool {
        if ballot < self.ballot() {
            let message = Message::Outvoted {
                ballot: self.ballot(),
            };
            out.push(Out::Send { to: from, message });
            return false;
        }
        self.vote(ballot, true);
        self.heard = true;
        if self.role != Role::Follower {
            self.follow(out);
        }
        true
    }

    pub(super) fn append(
        &mut self,
        from: usize,
        prev: LogId,
        entries: Vec<Rc<Entry>>,
        committed: u64,
        round: u64,
        out: &mut Vec<Out>,
    ) {
        let ballot = self.ballot();
        let known = prev.index < self.disk.purged.index || self.disk.id(prev.index) == Some(prev);
        if !known {
            // Answers at once: it claims nothing. What conflicts is cut when the leader's entries come.
            let upto = prev.index.saturating_sub(1).min(self.disk.last().index);
            let message = Message::Appended {
                ballot,
                matches: false,
                upto,
                round,
            };
            out.push(Out::Send { to: from, message });
            return;
        }
        let mut upto = prev.index;
        for entry in entries {
            upto = entry.id.index;
            match self.disk.id(upto) {
                _ if upto <= self.disk.purged.index => continue,
                Some(id) if id == entry.id => continue,
                Some(_) => self.disk.truncate(upto),
                None => {}
            }
            self.write(entry, out);
        }
        let committed = committed.min(upto);
        if committed > self.committed {
            self.committed = committed;
            out.push(Out::Changed);
        }
        let message = Message::Appended {
            ballot,
            matches: true,
            upto,
            round,
        };
        self.say_flushed(from, message, out);
    }

    pub(super) fn install(&mut self, from: usize, snapshot: Rc<Snapshot>, round: u64, out: &mut Vec<Out>) {
        let last = snapshot.last;
        if last.index > self.committed {
            self.committed = last.index;
            self.disk.keep(Rc::clone(&snapshot), last);
            out.push(Out::Restore(snapshot));
            out.push(Out::Changed);
        }
        let message = Message::Appended {
            ballot: self.ballot(),
            matches: true,
            upto: last.index,
            round,
        };
        self.say_flushed(from, message, out);
    }
}
