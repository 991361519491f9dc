//! Snapshots, a piece of the file at a time.

use std::io;

use bytes::Bytes;
use chv_domain::stored;

use super::ballot::{BallotVote, vote};
use super::malformed;
use crate::raft::Vote;
use crate::raft::incoming::Piece;
use crate::raft::snapshot::Meta;

/// A part of a snapshot's file.
#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::net) struct SnapshotPiece {
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
pub(in crate::net) struct SnapshotTaken {
    /// The vote of the replica that took the piece. A greater one than the sender's: it need not go on.
    #[prost(message, optional, tag = "1")]
    vote: Option<BallotVote>,
    /// Where the next piece begins.
    #[prost(uint64, tag = "2")]
    pub(in crate::net) next: u64,
    /// Whether the snapshot is installed, or older than what the replica has.
    #[prost(bool, tag = "3")]
    pub(in crate::net) done: bool,
}

impl SnapshotPiece {
    pub(in crate::net) fn of(vote: Vote, meta: &Meta, digest: [u8; 32], size: u64) -> io::Result<Self> {
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
    pub(in crate::net) fn at(&self, offset: u64, data: Bytes) -> Self {
        Self {
            offset,
            data,
            ..self.clone()
        }
    }

    pub(in crate::net) fn parts(self) -> io::Result<(Vote, Meta, Piece)> {
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
    pub(in crate::net) fn of(vote: Vote, next: u64, done: bool) -> Self {
        Self {
            vote: Some(vote.into()),
            next,
            done,
        }
    }

    pub(in crate::net) fn vote(self) -> io::Result<Vote> {
        vote(self.vote)
    }
}
