//! What replicas say to each other, and the conversions between that and openraft's types.

use std::io;

use bytes::Bytes;
use chv_domain::stored;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft::{CommittedLeaderId, LeaderId};

use crate::raft::{LogId, TypeConfig, Vote};

/// The version of this protocol; another one is refused.
pub(super) const PROTOCOL: u32 = 1;

/// The largest greeting, in bytes: nobody is known before it.
pub(super) const MAX_HELLO: usize = 4096;

/// The first message of each side.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Hello {
    /// [`PROTOCOL`].
    #[prost(uint32, tag = "1")]
    pub(super) protocol: u32,
    /// The cluster's id, 16 bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) cluster: Bytes,
    /// The replica that speaks.
    #[prost(uint64, tag = "3")]
    pub(super) from: u64,
    /// The replica that is meant.
    #[prost(uint64, tag = "4")]
    pub(super) to: u64,
    /// The cluster's secret; shown by the calling side alone.
    #[prost(bytes = "bytes", tag = "6")]
    pub(super) secret: Bytes,
    /// Why the answering side hangs up; empty when it does not.
    #[prost(string, tag = "5")]
    pub(super) refused: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Request {
    #[prost(oneof = "Ask", tags = "1, 2, 3")]
    pub(super) ask: Option<Ask>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Ask {
    #[prost(message, tag = "1")]
    Append(Append),
    #[prost(message, tag = "2")]
    Vote(AskVote),
    #[prost(message, tag = "3")]
    Snapshot(Chunk),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Answer {
    #[prost(oneof = "Told", tags = "1, 2, 3, 4")]
    pub(super) told: Option<Told>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Told {
    #[prost(message, tag = "1")]
    Append(Appended),
    #[prost(message, tag = "2")]
    Vote(Voted),
    /// The vote of the replica that took a chunk.
    #[prost(message, tag = "3")]
    Snapshot(BallotVote),
    /// The replica can't answer; why.
    #[prost(string, tag = "4")]
    Failed(String),
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct BallotVote {
    #[prost(uint64, tag = "1")]
    term: u64,
    #[prost(uint64, tag = "2")]
    replica: u64,
    #[prost(bool, tag = "3")]
    committed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct Position {
    #[prost(uint64, tag = "1")]
    term: u64,
    #[prost(uint64, tag = "2")]
    leader: u64,
    #[prost(uint64, tag = "3")]
    index: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Append {
    #[prost(message, optional, tag = "1")]
    vote: Option<BallotVote>,
    #[prost(message, optional, tag = "2")]
    previous: Option<Position>,
    /// Stored frames of entries.
    #[prost(bytes = "bytes", repeated, tag = "3")]
    entries: Vec<Bytes>,
    #[prost(message, optional, tag = "4")]
    committed: Option<Position>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Appended {
    #[prost(enumeration = "Outcome", tag = "1")]
    outcome: i32,
    /// Up to where, for `Partial`.
    #[prost(message, optional, tag = "2")]
    upto: Option<Position>,
    /// For `HigherVote`.
    #[prost(message, optional, tag = "3")]
    vote: Option<BallotVote>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
enum Outcome {
    Unsaid = 0,
    Success = 1,
    Partial = 2,
    Conflict = 3,
    HigherVote = 4,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct AskVote {
    #[prost(message, optional, tag = "1")]
    vote: Option<BallotVote>,
    #[prost(message, optional, tag = "2")]
    last: Option<Position>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Voted {
    #[prost(message, optional, tag = "1")]
    vote: Option<BallotVote>,
    #[prost(bool, tag = "2")]
    granted: bool,
    #[prost(message, optional, tag = "3")]
    last: Option<Position>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Chunk {
    #[prost(message, optional, tag = "1")]
    vote: Option<BallotVote>,
    /// The snapshot's description, a stored frame.
    #[prost(bytes = "bytes", tag = "2")]
    meta: Bytes,
    #[prost(uint64, tag = "3")]
    offset: u64,
    #[prost(bytes = "bytes", tag = "4")]
    data: Bytes,
    #[prost(bool, tag = "5")]
    done: bool,
}

fn malformed(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
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

fn vote(vote: Option<BallotVote>) -> io::Result<Vote> {
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

impl Append {
    pub(super) fn of(request: &AppendEntriesRequest<TypeConfig>) -> io::Result<Self> {
        let entries = request
            .entries
            .iter()
            .map(|entry| stored::encode(entry).map(Bytes::from));
        Ok(Self {
            vote: Some(request.vote.into()),
            previous: request.prev_log_id.map(Position::from),
            entries: entries.collect::<Result<_, _>>().map_err(malformed)?,
            committed: request.leader_commit.map(Position::from),
        })
    }

    pub(super) fn request(self) -> io::Result<AppendEntriesRequest<TypeConfig>> {
        let entries = self.entries.iter().map(|entry| stored::decode(entry));
        Ok(AppendEntriesRequest {
            vote: vote(self.vote)?,
            prev_log_id: self.previous.map(LogId::from),
            entries: entries.collect::<Result<_, _>>().map_err(malformed)?,
            leader_commit: self.committed.map(LogId::from),
        })
    }
}

impl Appended {
    pub(super) fn of(response: &AppendEntriesResponse<u64>) -> Self {
        let answer = |outcome: Outcome| Self {
            outcome: outcome.into(),
            upto: None,
            vote: None,
        };
        match response {
            AppendEntriesResponse::Success => answer(Outcome::Success),
            AppendEntriesResponse::PartialSuccess(upto) => Self {
                upto: upto.map(Position::from),
                ..answer(Outcome::Partial)
            },
            AppendEntriesResponse::Conflict => answer(Outcome::Conflict),
            AppendEntriesResponse::HigherVote(vote) => Self {
                vote: Some((*vote).into()),
                ..answer(Outcome::HigherVote)
            },
        }
    }

    pub(super) fn response(self) -> io::Result<AppendEntriesResponse<u64>> {
        Ok(match self.outcome() {
            Outcome::Success => AppendEntriesResponse::Success,
            Outcome::Partial => AppendEntriesResponse::PartialSuccess(self.upto.map(LogId::from)),
            Outcome::Conflict => AppendEntriesResponse::Conflict,
            Outcome::HigherVote => AppendEntriesResponse::HigherVote(vote(self.vote)?),
            Outcome::Unsaid => return Err(malformed("an answer that says nothing")),
        })
    }
}

impl AskVote {
    pub(super) fn of(request: &VoteRequest<u64>) -> Self {
        Self {
            vote: Some(request.vote.into()),
            last: request.last_log_id.map(Position::from),
        }
    }

    pub(super) fn request(self) -> io::Result<VoteRequest<u64>> {
        Ok(VoteRequest::new(vote(self.vote)?, self.last.map(LogId::from)))
    }
}

impl Voted {
    pub(super) fn of(response: &VoteResponse<u64>) -> Self {
        Self {
            vote: Some(response.vote.into()),
            granted: response.vote_granted,
            last: response.last_log_id.map(Position::from),
        }
    }

    pub(super) fn response(self) -> io::Result<VoteResponse<u64>> {
        Ok(VoteResponse {
            vote: vote(self.vote)?,
            vote_granted: self.granted,
            last_log_id: self.last.map(LogId::from),
        })
    }
}

impl Chunk {
    pub(super) fn of(request: InstallSnapshotRequest<TypeConfig>) -> io::Result<Self> {
        Ok(Self {
            vote: Some(request.vote.into()),
            meta: stored::encode(&request.meta).map_err(malformed)?.into(),
            offset: request.offset,
            data: request.data.into(),
            done: request.done,
        })
    }

    pub(super) fn request(self) -> io::Result<InstallSnapshotRequest<TypeConfig>> {
        Ok(InstallSnapshotRequest {
            vote: vote(self.vote)?,
            meta: stored::decode(&self.meta).map_err(malformed)?,
            offset: self.offset,
            data: self.data.to_vec(),
            done: self.done,
        })
    }
}

impl BallotVote {
    pub(super) fn of(response: &InstallSnapshotResponse<u64>) -> Self {
        response.vote.into()
    }

    pub(super) fn response(self) -> InstallSnapshotResponse<u64> {
        InstallSnapshotResponse { vote: self.into() }
    }
}
