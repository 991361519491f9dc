//! What replicas say to each other, and the conversions between that and openraft's types.

mod append;
mod ballot;
mod disk;
mod history;
mod snapshot;
mod vote;

use std::io;

use bytes::Bytes;

pub(super) use append::{Append, Appended};
pub(super) use ballot::{LogEnd, Position};
pub(super) use disk::Trouble;
pub(super) use history::{HistoryPiece, HistoryWanted};
pub(super) use snapshot::{SnapshotPiece, SnapshotTaken};
pub(super) use vote::{AskVote, Opinion, Voted, WouldVote};

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
    /// Its data directory's id, 16 bytes.
    #[prost(bytes = "bytes", tag = "7")]
    pub(super) directory: Bytes,
    /// The data directory that it knows the other one by; empty when it knows none.
    #[prost(bytes = "bytes", tag = "8")]
    pub(super) expects: Bytes,
    /// The highest record format that the cluster writes, as far as it knows.
    #[prost(uint32, tag = "10")]
    pub(super) needs: u32,
    /// Why the answering side hangs up; empty when it does not.
    #[prost(string, tag = "5")]
    pub(super) refused: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Request {
    #[prost(oneof = "Ask", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub(super) ask: Option<Ask>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Ask {
    #[prost(message, tag = "1")]
    Append(Append),
    #[prost(message, tag = "2")]
    Vote(AskVote),
    #[prost(message, tag = "3")]
    WouldVote(WouldVote),
    /// The leader, whose log ends there, asks the replica to lead in its place.
    #[prost(message, tag = "4")]
    TakeOver(Position),
    #[prost(message, tag = "5")]
    Snapshot(SnapshotPiece),
    #[prost(message, tag = "6")]
    History(HistoryWanted),
    /// Where the replica's log ends.
    #[prost(message, tag = "7")]
    LogEnd(()),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Answer {
    #[prost(oneof = "Told", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9")]
    pub(super) told: Option<Told>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Told {
    #[prost(message, tag = "1")]
    Append(Appended),
    #[prost(message, tag = "2")]
    Vote(Voted),
    #[prost(message, tag = "3")]
    WouldVote(Opinion),
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
    #[prost(message, tag = "8")]
    LogEnd(LogEnd),
    /// The replica's disk does not let it do that.
    #[prost(message, tag = "9")]
    Disk(Trouble),
}

fn malformed(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
