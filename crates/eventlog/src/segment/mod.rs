//! The log's own files: append-only segments of CRC-checked frames over preallocated space.
//!
//! Knows indexes and bytes, not Raft: what an entry means is its caller's business. [`store`] owns the files,
//! [`recover`] decides at opening what is whole, what is a torn tail and what is damage, and [`reader`] serves
//! what was written, checking every frame again.

#[cfg(test)]
mod damage_tests;
mod file;
mod frame;
#[cfg(test)]
mod model_tests;
mod reader;
mod recover;
mod scan;
mod spare;
mod store;

pub(crate) use reader::SegmentReader;
pub(crate) use recover::OpenError as SegmentError;
pub(crate) use scan::{ScannedSegment, segment_files};
pub(crate) use store::SegmentStore;

pub(crate) use file::VERSION as FILE_VERSION;
pub(crate) use frame::VERSION as FRAME_VERSION;

/// The largest payload of one entry, in bytes. An append of more is refused before anything is written.
pub(crate) const MAX_PAYLOAD: usize = 16 << 20;
