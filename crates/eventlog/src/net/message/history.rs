//! Sealed files of history, a piece at a time.

use bytes::Bytes;

/// Asks for a part of a sealed file of history, or of a checkpoint.
#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::net) struct HistoryWanted {
    /// An event that is in it.
    #[prost(uint64, tag = "1")]
    pub(in crate::net) seq: u64,
    /// SHA-256 of the file that is wanted; empty for any that holds the event.
    #[prost(bytes = "bytes", tag = "2")]
    pub(in crate::net) digest: Bytes,
    #[prost(uint64, tag = "3")]
    pub(in crate::net) offset: u64,
    /// Instead of that file the checkpoint at exactly the event.
    #[prost(bool, tag = "4")]
    pub(in crate::net) checkpoint: bool,
}

/// A part of a sealed file of history; without a digest: the replica has no such file, or not yet.
#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::net) struct HistoryPiece {
    /// SHA-256 of the file, as its end tells it.
    #[prost(bytes = "bytes", tag = "1")]
    pub(in crate::net) digest: Bytes,
    /// Bytes of the file.
    #[prost(uint64, tag = "2")]
    pub(in crate::net) size: u64,
    #[prost(bytes = "bytes", tag = "3")]
    pub(in crate::net) data: Bytes,
}
