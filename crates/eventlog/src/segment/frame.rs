//! One entry on disk: header, payload, trailer. Pure: bytes in, bytes out.
//!
//! ```text
//! 0   index        u64   the entry's Raft index
//! 8   length       u32   of the payload
//! 12  batch start  u32   where in this segment the write that carries the frame began
//! 16  body CRC     u32   over everything after the header: payload, padding, trailer
//! 20  header CRC   u32   over the other 28 bytes of the header
//! 24  version      u8    then three zero bytes
//! 28  magic        4     "CHVF"
//! 32  payload, zero padding, and at the very end the trailer "fEND"; the whole is a multiple of 32
//! ```
//!
//! Frames are aligned to 32 bytes, so no header crosses a disk sector, and header and trailer both end with
//! bytes that are never zero: in zeroed space an unfinished write can be told from a finished and then damaged
//! one. A batch is written only after the one before it was flushed, so a valid frame whose batch starts at X
//! proves that everything before X had been flushed; that is what `batch start` is for.

use crc32fast::Hasher;

/// Bytes before the payload; also what every frame is aligned to.
pub(super) const HEADER: usize = 32;
const TRAILER: [u8; 4] = *b"fEND";
const MAGIC: [u8; 4] = *b"CHVF";
/// The version of a frame.
pub(crate) const VERSION: u8 = 1;

/// The bytes that a payload of `len` takes on disk.
pub(super) const fn framed_len(len: usize) -> usize {
    (HEADER + len + TRAILER.len()).next_multiple_of(HEADER)
}

/// A frame that was checked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) index: u64,
    pub(super) batch_start: u32,
    pub(super) payload: &'a [u8],
    /// Of the whole frame.
    pub(super) len: usize,
}

/// Why the bytes are not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Damage {
    /// The header doesn't check: nothing in it can be believed.
    Header,
    /// The header is whole, and says that the frame has `len` bytes; the rest doesn't check.
    Body { len: usize },
    /// A whole frame of a version that this program does not know.
    Version(u8),
}

/// Appends the frame of `payload` to `out`.
pub(super) fn encode(out: &mut Vec<u8>, index: u64, batch_start: u32, payload: &[u8]) {
    let start = out.len();
    let len = framed_len(payload.len());
    out.resize(start + HEADER, 0);
    out.extend_from_slice(payload);
    out.resize(start + len - TRAILER.len(), 0);
    out.extend_from_slice(&TRAILER);
    let body = crc32fast::hash(&out[start + HEADER..]);
    let header = &mut out[start..start + HEADER];
    header[0..8].copy_from_slice(&index.to_le_bytes());
    header[8..12].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    header[12..16].copy_from_slice(&batch_start.to_le_bytes());
    header[16..20].copy_from_slice(&body.to_le_bytes());
    header[24] = VERSION;
    header[28..32].copy_from_slice(&MAGIC);
    let crc = header_crc(header);
    header[20..24].copy_from_slice(&crc.to_le_bytes());
}

/// Checks and takes apart the frame at the start of `bytes`.
pub(super) fn parse(bytes: &[u8]) -> Result<Frame<'_>, Damage> {
    let header = bytes.get(..HEADER).ok_or(Damage::Header)?;
    if header[28..32] != MAGIC || u32_at(header, 20) != header_crc(header) {
        return Err(Damage::Header);
    }
    if header[24] != VERSION {
        return Err(Damage::Version(header[24]));
    }
    let payload_len = u32_at(header, 8) as usize;
    let len = framed_len(payload_len);
    let body = bytes.get(HEADER..len).ok_or(Damage::Body { len })?;
    if crc32fast::hash(body) != u32_at(header, 16) || !body.ends_with(&TRAILER) {
        return Err(Damage::Body { len });
    }
    let index = u64::from_le_bytes(header[0..8].try_into().expect("eight bytes"));
    Ok(Frame {
        index,
        batch_start: u32_at(header, 12),
        payload: &body[..payload_len],
        len,
    })
}

fn header_crc(header: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&header[0..20]);
    hasher.update(&header[24..HEADER]);
    hasher.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_reads_back_and_every_flipped_bit_is_noticed() {
        for payload in [&b""[..], b"x", &[0; 28], &[7; 61]] {
            let mut bytes = Vec::new();
            encode(&mut bytes, 42, 64, payload);
            assert_eq!(bytes.len(), framed_len(payload.len()));
            assert_eq!(bytes.len() % HEADER, 0);
            assert_eq!(
                parse(&bytes),
                Ok(Frame {
                    index: 42,
                    batch_start: 64,
                    payload,
                    len: bytes.len()
                })
            );
            for bit in 0..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(
                    parse(&bytes).is_err(),
                    "bit {bit} of a frame of {} bytes",
                    payload.len()
                );
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }

    #[test]
    fn a_frame_cut_anywhere_is_damaged() {
        let mut bytes = Vec::new();
        encode(&mut bytes, 1, 32, b"twelve bytes");
        for len in 0..bytes.len() {
            assert!(parse(&bytes[..len]).is_err());
            let mut zeroed = bytes.clone();
            zeroed[len..].fill(0);
            assert!(parse(&zeroed).is_err(), "zeroed from {len}");
        }
    }
}
