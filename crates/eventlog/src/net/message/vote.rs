//! Asking for votes, and before that whether there would be any.

use std::io;
use std::time::Duration;

use openraft::raft::{VoteRequest, VoteResponse};

use super::ballot::{BallotVote, Position, vote};
use crate::elect;
use crate::raft::LogId;

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::net) struct AskVote {
    #[prost(message, optional, tag = "1")]
    vote: Option<BallotVote>,
    #[prost(message, optional, tag = "2")]
    last: Option<Position>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::net) struct Voted {
    #[prost(message, optional, tag = "1")]
    vote: Option<BallotVote>,
    #[prost(bool, tag = "2")]
    granted: bool,
    #[prost(message, optional, tag = "3")]
    last: Option<Position>,
}

impl AskVote {
    pub(in crate::net) fn of(request: &VoteRequest<u64>) -> Self {
        Self {
            vote: Some(request.vote.into()),
            last: request.last_log_id.map(Position::from),
        }
    }

    pub(in crate::net) fn request(self) -> io::Result<VoteRequest<u64>> {
        Ok(VoteRequest::new(vote(self.vote)?, self.last.map(LogId::from)))
    }
}

impl Voted {
    pub(in crate::net) fn of(response: &VoteResponse<u64>) -> Self {
        Self {
            vote: Some(response.vote.into()),
            granted: response.vote_granted,
            last: response.last_log_id.map(Position::from),
        }
    }

    pub(in crate::net) fn response(self) -> io::Result<VoteResponse<u64>> {
        Ok(VoteResponse {
            vote: vote(self.vote)?,
            vote_granted: self.granted,
            last_log_id: self.last.map(LogId::from),
        })
    }
}

/// Asks whether the replica would vote for the sender, whose log ends at `last`. Changes nothing.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(in crate::net) struct WouldVote {
    #[prost(message, optional, tag = "1")]
    last: Option<Position>,
}

/// Whether it would.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(in crate::net) struct Opinion {
    #[prost(bool, tag = "1")]
    yes: bool,
    /// Where not: whether that is because the sender's log is behind.
    #[prost(bool, tag = "2")]
    behind: bool,
    /// Where not, and it is not behind: for how many milliseconds the leader that was heard is still safe.
    #[prost(uint32, tag = "3")]
    safe_ms: u32,
}

impl WouldVote {
    pub(in crate::net) fn of(last: Option<LogId>) -> Self {
        Self {
            last: last.map(Position::from),
        }
    }

    pub(in crate::net) fn last(self) -> Option<LogId> {
        self.last.map(LogId::from)
    }
}

impl From<elect::Opinion> for Opinion {
    fn from(opinion: elect::Opinion) -> Self {
        match opinion {
            elect::Opinion::Yes => Self {
                yes: true,
                ..Self::default()
            },
            elect::Opinion::Behind => Self {
                behind: true,
                ..Self::default()
            },
            elect::Opinion::LeaderHeard { safe } => Self {
                safe_ms: u32::try_from(safe.as_millis()).unwrap_or(u32::MAX),
                ..Self::default()
            },
        }
    }
}

impl From<Opinion> for elect::Opinion {
    fn from(told: Opinion) -> Self {
        match (told.yes, told.behind) {
            (true, _) => Self::Yes,
            (false, true) => Self::Behind,
            (false, false) => Self::LeaderHeard {
                safe: Duration::from_millis(told.safe_ms.into()),
            },
        }
    }
}
