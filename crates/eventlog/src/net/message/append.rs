//! Entries for a follower, and what it says to them.

use std::io;

use bytes::Bytes;
use chv_domain::stored;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};

use super::ballot::{BallotVote, Position, vote};
use super::disk::Trouble;
use super::malformed;
use crate::files::DiskTrouble;
#[cfg(test)]
use crate::raft::Vote;
use crate::raft::log_storage::LogStorage;
use crate::raft::{LogId, TypeConfig};

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::net) struct Append {
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
pub(in crate::net) struct Appended {
    #[prost(enumeration = "Outcome", tag = "1")]
    outcome: i32,
    /// Up to where, for `Partial`.
    #[prost(message, optional, tag = "2")]
    upto: Option<Position>,
    /// For `HigherVote`.
    #[prost(message, optional, tag = "3")]
    vote: Option<BallotVote>,
    /// Why it takes no more records; absent where it does.
    #[prost(message, optional, tag = "4")]
    trouble: Option<Trouble>,
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

impl Append {
    /// `log` is the one that the entries are from.
    pub(in crate::net) fn of(
        request: &AppendEntriesRequest<TypeConfig>,
        log: &LogStorage,
    ) -> io::Result<Self> {
        let entries = request.entries.iter().map(|entry| log.stored_form(entry));
        Ok(Self {
            vote: Some(request.vote.into()),
            previous: request.prev_log_id.map(Position::from),
            entries: entries.collect::<Result<_, _>>().map_err(malformed)?,
            committed: request.leader_commit.map(Position::from),
        })
    }

    /// Entries as somebody stored them.
    #[cfg(test)]
    pub(in crate::net) fn of_stored(vote: Vote, entries: Vec<Bytes>) -> Self {
        Self {
            vote: Some(vote.into()),
            previous: None,
            entries,
            committed: None,
        }
    }

    /// The entries as they are stored.
    pub(in crate::net) fn stored(&self) -> Vec<Bytes> {
        self.entries.clone()
    }

    pub(in crate::net) fn request(self) -> io::Result<AppendEntriesRequest<TypeConfig>> {
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
    pub(in crate::net) fn of(response: &AppendEntriesResponse<u64>) -> Self {
        let answer = |outcome: Outcome| Self {
            outcome: outcome.into(),
            upto: None,
            vote: None,
            trouble: None,
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

    /// As from a replica whose disk has this trouble.
    pub(in crate::net) fn with(self, trouble: Option<DiskTrouble>) -> Self {
        let trouble = trouble.map(Trouble::from);
        Self { trouble, ..self }
    }

    /// What it says of its disk.
    pub(in crate::net) fn trouble(&self) -> Option<DiskTrouble> {
        self.trouble.clone().map(DiskTrouble::from)
    }

    pub(in crate::net) fn response(self) -> io::Result<AppendEntriesResponse<u64>> {
        Ok(match self.outcome() {
            Outcome::Success => AppendEntriesResponse::Success,
            Outcome::Partial => AppendEntriesResponse::PartialSuccess(self.upto.map(LogId::from)),
            Outcome::Conflict => AppendEntriesResponse::Conflict,
            Outcome::HigherVote => AppendEntriesResponse::HigherVote(vote(self.vote)?),
            Outcome::Unsaid => return Err(malformed("an answer that says nothing")),
        })
    }
}
