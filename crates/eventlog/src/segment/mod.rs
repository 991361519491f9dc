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
mod spare;
mod store;

pub(crate) use reader::SegmentReader;
pub(crate) use store::SegmentStore;

/// The largest payload of one entry, in bytes. An append of more is refused before anything is written.
pub(crate) const MAX_PAYLOAD: usize = 16 << 20;
