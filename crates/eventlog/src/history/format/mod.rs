//! The form of a sealed file: records in order, compressed in blocks that each decode alone, an index of the
//! blocks, and enough hashes to find any change. Pure: bytes in, bytes out.
//!
//! ```text
//! header    magic, version, cluster, first seq, the hash before the first record, CRC      [`header`]
//! blocks    zstd frames of about 256 KiB of records; of each record its length (u32, little endian) and its
//!           stored frame                                                                   [`block`]
//! footer    a stored frame: where each block is and what it holds, and how the file ends   [`Footer`]
//! trailer   where the footer is, SHA-256 of all that is before the trailer, CRC, magic      [`trailer`]
//! ```
//!
//! A file is written once, by [`Builder`], and read through [`Layout`]: [`Layout::read`] needs only the header
//! and the file's end, [`Layout::records`] one block. [`verify`] reads everything. Each byte of a file is under
//! the CRC of its part, so damage is told with the place where the part begins.

mod block;
mod builder;
#[cfg(test)]
mod damage_tests;
mod footer;
mod header;
mod layout;
#[cfg(test)]
pub(crate) mod samples;
mod trailer;

pub(crate) use builder::Builder;
pub(crate) use header::Header;
pub(crate) use layout::{Layout, verify};

/// The version of the form; another one is refused.
pub(crate) const VERSION: u32 = 1;

/// Records of this many bytes, as stored, share a block; a larger record has one of its own.
pub(crate) const BLOCK: usize = 256 << 10;

/// The largest block, decompressed: one record as large as an entry of the log may be, and some room.
const MAX_BLOCK: usize = 32 << 20;

/// Why bytes are not a sealed file, and where in it that was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FormatError {
    /// Not what was written.
    #[error("at byte {at}: {what}")]
    Damaged {
        /// Where the part begins that does not check.
        at: u64,
        /// The part, and what is wrong with it.
        what: String,
    },
    /// Intact parts that do not fit each other.
    #[error("at byte {at}: event {seq} does not continue the chain: {what}")]
    Chain {
        /// Where the block begins that holds it.
        at: u64,
        /// The event.
        seq: chv_domain::Seq,
        /// What does not fit.
        what: &'static str,
    },
    /// Written by another version.
    #[error(
        "the file has format version {0}, this program knows {VERSION}; use the program that wrote it or newer"
    )]
    Version(u32),
    /// The file system.
    #[error("at byte {at}: reading failed: {why}")]
    Io {
        /// Where.
        at: u64,
        /// What the kernel said.
        why: String,
    },
}

fn damaged(at: u64, what: impl Into<String>) -> FormatError {
    FormatError::Damaged {
        at,
        what: what.into(),
    }
}
