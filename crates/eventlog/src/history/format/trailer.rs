//! What a sealed file ends with.
//!
//! ```text
//! 0   footer   u64  where it begins
//! 8   length   u32  of the footer
//! 12  SHA-256  32   of all that is before the trailer
//! 44  magic    8    "CHVHISTE"
//! 52  CRC      u32  over all of the trailer before it
//! ```

use sha2::{Digest, Sha256};

use super::{FormatError, damaged};

/// Bytes of a trailer.
pub(super) const LEN: usize = 56;
const MAGIC: [u8; 8] = *b"CHVHISTE";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trailer {
    pub(super) footer: u64,
    pub(super) footer_len: u32,
    pub(super) digest: [u8; 32],
}

impl Trailer {
    /// The trailer of a file whose bytes before it are `before`, with the footer at `footer`.
    pub(super) fn of(before: &[u8], footer: usize) -> Self {
        Self {
            footer: footer as u64,
            footer_len: (before.len() - footer) as u32,
            digest: Sha256::digest(before).into(),
        }
    }

    pub(super) fn encode(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[0..8].copy_from_slice(&self.footer.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.footer_len.to_le_bytes());
        bytes[12..44].copy_from_slice(&self.digest);
        bytes[44..52].copy_from_slice(&MAGIC);
        let crc = crc32fast::hash(&bytes[..52]);
        bytes[52..56].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The trailer in `bytes`, which lie at `at`.
    pub(super) fn decode(bytes: &[u8], at: u64) -> Result<Self, FormatError> {
        let bytes: &[u8; LEN] = bytes
            .try_into()
            .map_err(|_| damaged(at, "the file is shorter than its trailer"))?;
        if bytes[44..52] != MAGIC || crc32fast::hash(&bytes[..52]).to_le_bytes() != bytes[52..56] {
            return Err(damaged(
                at,
                "the trailer does not check: the file is cut off or damaged",
            ));
        }
        let trailer = Self {
            footer: u64::from_le_bytes(bytes[0..8].try_into().expect("eight bytes")),
            footer_len: u32::from_le_bytes(bytes[8..12].try_into().expect("four bytes")),
            digest: bytes[12..44].try_into().expect("thirty-two bytes"),
        };
        match trailer.footer.checked_add(u64::from(trailer.footer_len)) == Some(at) {
            true => Ok(trailer),
            false => Err(damaged(
                at,
                "the trailer does not follow the footer: bytes are missing or too many",
            )),
        }
    }
}
