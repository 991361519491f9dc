//! A whole cluster in one file: every record that is kept, and the state that they fold to.
//!
//! ```text
//! header   magic, version, cluster, CRC                                        [`form`]
//! parts    kind, length, CRC of the body, CRC of this head, body
//!          BASE  where the first events are forgotten: a checkpoint, the state that folding begins with
//!          HIST  a sealed file of history, as replicas keep them; in order, without a hole
//!          STAT  the state after the last record: a stored frame, compressed
//!          ENDS  SHA-256 of all bytes before this part
//! ```
//!
//! [`ArchiveWriter`] writes one, [`read`] reads one and checks all of it, [`collect`] makes one out of a data directory
//! that no process has open, and [`restore`] makes a data directory out of one.

mod collect;
mod error;
mod form;
mod reader;
mod restore;
#[cfg(test)]
mod tests;
mod verify;
mod writer;

pub use collect::{CollectError, collect};
pub use error::ArchiveError;
pub use form::VERSION;
pub use reader::{Archive, is_archive, read};
pub use restore::{Restore, RestoreError, Restored, restore};
pub use verify::verify;
pub use writer::{ArchiveWriter, Archived};

/// Records of about this many bytes share a part.
const PART: usize = 8 << 20;
