//! What a sealed file begins with.
//!
//! ```text
//! 0   magic    8   "CHVHISTF"
//! 8   version  u32
//! 12  zero     4
//! 16  cluster  16
//! 32  first    u64  the number of the first event
//! 40  prev     32   the hash of the record before
//! 72  zero     4
//! 76  CRC      u32  over all before it
//! ```

use chv_domain::{ClusterId, RecordHash, Seq};

use super::{FormatError, VERSION, damaged};

/// Bytes of a header.
pub(super) const LEN: usize = 80;
const MAGIC: [u8; 8] = *b"CHVHISTF";

/// Whose records a file holds, and from where on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// The cluster.
    pub(crate) cluster: ClusterId,
    /// The first event.
    pub(crate) first: Seq,
    /// The hash of the record before it.
    pub(crate) prev: RecordHash,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.cluster.to_bytes());
        bytes[32..40].copy_from_slice(&self.first.0.to_le_bytes());
        bytes[40..72].copy_from_slice(&self.prev.0);
        let crc = crc32fast::hash(&bytes[..76]);
        bytes[76..80].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let bytes: &[u8; LEN] = bytes
            .try_into()
            .map_err(|_| damaged(0, "the file is shorter than its header"))?;
        if bytes[0..8] != MAGIC || crc32fast::hash(&bytes[..76]).to_le_bytes() != bytes[76..80] {
            return Err(damaged(0, "the header does not check"));
        }
        let version = u32::from_le_bytes(bytes[8..12].try_into().expect("four bytes"));
        if version != VERSION {
            return Err(FormatError::Version(version));
        }
        Ok(Self {
            cluster: ClusterId::from_bytes(bytes[16..32].try_into().expect("sixteen bytes")),
            first: Seq(u64::from_le_bytes(bytes[32..40].try_into().expect("eight bytes"))),
            prev: RecordHash(bytes[40..72].try_into().expect("thirty-two bytes")),
        })
    }
}
