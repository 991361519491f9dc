//! Votes and places in the log, as replicas tell them.

use std::io;

use openraft::{CommittedLeaderId, LeaderId};

use super::malformed;
use crate::raft::{LogId, Vote};

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(in crate::net) struct BallotVote {
    #[prost(uint64, tag = "1")]
    term: u64,
    #[prost(uint64, tag = "2")]
    replica: u64,
    #[prost(bool, tag = "3")]
    committed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(in crate::net) struct Position {
    #[prost(uint64, tag = "1")]
    term: u64,
    #[prost(uint64, tag = "2")]
    leader: u64,
    #[prost(uint64, tag = "3")]
    index: u64,
}

impl From<Vote> for BallotVote {
    fn from(vote: Vote) -> Self {
        Self {
            term: vote.leader_id.term,
            replica: vote.leader_id.node_id,
            committed: vote.committed,
        }
    }
}

impl From<BallotVote> for Vote {
    fn from(vote: BallotVote) -> Self {
        Self {
            leader_id: LeaderId::new(vote.term, vote.replica),
            committed: vote.committed,
        }
    }
}

pub(super) fn vote(vote: Option<BallotVote>) -> io::Result<Vote> {
    vote.map(Vote::from)
        .ok_or_else(|| malformed("a message without a vote"))
}

impl From<LogId> for Position {
    fn from(id: LogId) -> Self {
        Self {
            term: id.leader_id.term,
            leader: id.leader_id.node_id,
            index: id.index,
        }
    }
}

impl From<Position> for LogId {
    fn from(position: Position) -> Self {
        Self::new(
            CommittedLeaderId::new(position.term, position.leader),
            position.index,
        )
    }
}

/// Where a log ends; nowhere when it is empty.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(in crate::net) struct LogEnd {
    #[prost(message, optional, tag = "1")]
    last: Option<Position>,
}

impl LogEnd {
    pub(in crate::net) fn of(last: Option<LogId>) -> Self {
        Self {
            last: last.map(Position::from),
        }
    }

    pub(in crate::net) fn last(self) -> Option<LogId> {
        self.last.map(LogId::from)
    }
}
