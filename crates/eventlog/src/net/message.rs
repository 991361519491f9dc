//! What replicas say to each other, and the conversions between that and openraft's types.

use std::io;

use bytes::Bytes;
use chv_domain::stored;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};
use openraft::{CommittedLeaderId, LeaderId};

use crate::raft::incoming::Piece;
use crate::raft::snapshot::Meta;
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
    /// The highest record format that it knows: see [`chv_domain::FORMAT`].
    #[prost(uint32, tag = "9")]
    pub(super) format: u32,
    /// Why the answering side hangs up; empty when it does not.
    #[prost(string, tag = "5")]
    pub(super) refused: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Request {
    #[prost(oneof = "Ask", tags = "1, 2, 4, 5, 6")]
    pub(super) ask: Option<Ask>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Ask {
    #[prost(message, tag = "1")]
    Append(Append),
    #[prost(message, tag = "2")]
    Vote(AskVote),
    /// The leader, whose log ends there, asks the replica to lead in its place.
    #[prost(message, tag = "4")]
    TakeOver(Position),
    #[prost(message, tag = "5")]
    Snapshot(SnapshotPiece),
    #[prost(message, tag = "6")]
    History(HistoryWanted),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Answer {
    #[prost(oneof = "Told", tags = "1, 2, 4, 5, 6, 7")]
    pub(super) told: Option<Told>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Told {
    #[prost(message, tag = "1")]
    Append(Appended),
    #[prost(message, tag = "2")]
    Vote(Voted),
    /// The replica can't answer; why.
    #[prost(string, tag = "4")]
    Failed(String),
    /// Why the replica does not take over; empty when it stands for election.
    #[prost(string, tag = "5")]
    TakeOver(String),
    #[prost(message, tag = "6")]
    Snapshot(SnapshotTaken),
    #[prost(message, tag = "7")]
    History(HistoryPiece),
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

/// A part of a snapshot's file.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SnapshotPiece {
    #[prost(message, optional, tag = "1")]
    vote: Option<BallotVote>,
    /// The snapshot's description, a stored frame.
    #[prost(bytes = "bytes", tag = "2")]
    meta: Bytes,
    /// SHA-256 of the file, as its end tells it.
    #[prost(bytes = "bytes", tag = "3")]
    digest: Bytes,
    /// Bytes of the file.
    #[prost(uint64, tag = "4")]
    size: u64,
    #[prost(uint64, tag = "5")]
    offset: u64,
    /// Empty to ask where to go on.
    #[prost(bytes = "bytes", tag = "6")]
    data: Bytes,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct SnapshotTaken {
    /// The vote of the replica that took the piece. A greater one than the sender's: it need not go on.
    #[prost(message, optional, tag = "1")]
    vote: Option<BallotVote>,
    /// Where the next piece begins.
    #[prost(uint64, tag = "2")]
    pub(super) next: u64,
    /// Whether the snapshot is installed, or older than what the replica has.
    #[prost(bool, tag = "3")]
    pub(super) done: bool,
}

/// Asks for a part of a sealed file of history.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HistoryWanted {
    /// An event that is in it.
    #[prost(uint64, tag = "1")]
    pub(super) seq: u64,
    /// SHA-256 of the file that is wanted; empty for any that holds the event.
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) digest: Bytes,
    #[prost(uint64, tag = "3")]
    pub(super) offset: u64,
}

/// A part of a sealed file of history; without a digest: the replica has no such file, or not yet.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HistoryPiece {
    /// SHA-256 of the file, as its end tells it.
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) digest: Bytes,
    /// Bytes of the file.
    #[prost(uint64, tag = "2")]
    pub(super) size: u64,
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) data: Bytes,
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

    /// Entries as somebody stored them.
    #[cfg(test)]
    pub(super) fn of_stored(vote: Vote, entries: Vec<Bytes>) -> Self {
        Self {
            vote: Some(vote.into()),
            previous: None,
            entries,
            committed: None,
        }
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

impl SnapshotPiece {
    pub(super) fn of(vote: Vote, meta: &Meta, digest: [u8; 32], size: u64) -> io::Result<Self> {
        Ok(Self {
            vote: Some(vote.into()),
            meta: stored::encode(meta).map_err(malformed)?.into(),
            digest: digest.to_vec().into(),
            size,
            offset: 0,
            data: Bytes::new(),
        })
    }

    /// The piece at `offset` of the same file.
    pub(super) fn at(&self, offset: u64, data: Bytes) -> Self {
        Self {
            offset,
            data,
            ..self.clone()
        }
    }

    pub(super) fn parts(self) -> io::Result<(Vote, Meta, Piece)> {
        let digest = self.digest.as_ref().try_into();
        let piece = Piece {
            digest: digest.map_err(|_| malformed("a digest of another length"))?,
            size: self.size,
            offset: self.offset,
            data: self.data,
        };
        Ok((
            vote(self.vote)?,
            stored::decode(&self.meta).map_err(malformed)?,
            piece,
        ))
    }
}

impl SnapshotTaken {
    pub(super) fn of(vote: Vote, next: u64, done: bool) -> Self {
        Self {
            vote: Some(vote.into()),
            next,
            done,
        }
    }

    pub(super) fn vote(self) -> io::Result<Vote> {
        vote(self.vote)
    }
}
