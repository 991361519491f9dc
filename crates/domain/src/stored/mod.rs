//! How domain values lie on a disk: CBOR in a frame whose version, length and checksum are verified
//! before a byte of it is decoded. This is the only module that knows serde_cbor; nothing that comes
//! from the network is decoded here before its frame has been checked.
//!
//! Fields and variants are told by their place, not by their name, which halves the size: see `packed`. So a field or a
//! variant is only ever added at the end; the golden files in the tests tell when one was not.
//!
//! Frame, big endian: `u8` version, `u32` length of the body, `u32` CRC-32 (IEEE) of the body, body.

mod packed;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_cbor::ser::IoWrite;

use self::packed::Packed;

/// The version that this code writes and the only one that it reads.
pub const VERSION: u8 = 2;

/// Bytes before the body.
pub const HEADER: usize = 9;

/// The size of most values, a record's: made room for at once.
const USUAL: usize = 512;

/// Why bytes are not a stored value.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    /// Fewer bytes than the frame says.
    #[error("the frame is cut off: {have} bytes where {need} were expected")]
    Truncated {
        /// Bytes there.
        have: usize,
        /// Bytes that the frame asks for.
        need: usize,
    },
    /// More bytes than the frame says.
    #[error("{0} bytes follow the end of the frame")]
    Trailing(usize),
    /// Written by another version.
    #[error(
        "the frame has version {found}, this program reads {VERSION}; use the program that wrote it or newer"
    )]
    Version {
        /// The frame's version.
        found: u8,
    },
    /// The body is not what was written.
    #[error("the checksum does not match: the bytes are damaged")]
    Checksum,
    /// Intact, but not a value of the type asked for.
    #[error("the body does not decode, perhaps a newer version wrote it: {0}")]
    Body(String),
    /// Too large for a frame, or not serialisable.
    #[error("the value can't be encoded: {0}")]
    Encode(String),
}

/// Encodes `value` into one frame.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, StoredError> {
    encode_about(value, USUAL)
}

/// As [`encode`], with room for about `size` bytes made at once: growing is most of the work where much is encoded.
pub fn encode_about<T: Serialize>(value: &T, size: usize) -> Result<Vec<u8>, StoredError> {
    let mut frame = Vec::with_capacity(HEADER + size);
    frame.resize(HEADER, 0);
    write(&mut frame, value)?;
    let body = &frame[HEADER..];
    let length = u32::try_from(body.len()).map_err(|_| StoredError::Encode("over 4 GiB".to_owned()))?;
    let checksum = crc32fast::hash(body);
    frame[0] = VERSION;
    frame[1..5].copy_from_slice(&length.to_be_bytes());
    frame[5..9].copy_from_slice(&checksum.to_be_bytes());
    Ok(frame)
}

/// Writes `value` without a frame, as it comes: for what is too large for one, and has a checksum of its own.
pub fn write<T: Serialize>(to: impl std::io::Write, value: &T) -> Result<(), StoredError> {
    let mut cbor = serde_cbor::Serializer::new(IoWrite::new(to));
    value
        .serialize(Packed(&mut cbor))
        .map_err(|error| StoredError::Encode(error.to_string()))
}

/// Reads `count` values that [`write`] wrote one after the other, and nothing else. The caller has checked that they are
/// what was written.
pub fn read_each<T: DeserializeOwned>(bytes: &[u8], count: usize) -> Result<Vec<T>, StoredError> {
    let mut values = serde_cbor::Deserializer::from_slice(bytes).into_iter();
    let read: Result<Vec<T>, _> = values.by_ref().take(count).collect();
    let read = read.map_err(|error| StoredError::Body(error.to_string()))?;
    match (read.len() == count, bytes.len() - values.byte_offset()) {
        (true, 0) => Ok(read),
        (true, more) => Err(StoredError::Trailing(more)),
        (false, _) => Err(StoredError::Body(format!("{} values, not {count}", read.len()))),
    }
}

/// The body of the one frame in `bytes`, after its version, length and checksum were verified.
fn verified(bytes: &[u8]) -> Result<&[u8], StoredError> {
    let Some((header, body)) = bytes.split_at_checked(HEADER) else {
        return Err(StoredError::Truncated {
            have: bytes.len(),
            need: HEADER,
        });
    };
    if header[0] != VERSION {
        return Err(StoredError::Version { found: header[0] });
    }
    let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let length = number(1) as usize;
    if body.len() < length {
        return Err(StoredError::Truncated {
            have: bytes.len(),
            need: HEADER + length,
        });
    }
    if body.len() > length {
        return Err(StoredError::Trailing(body.len() - length));
    }
    if crc32fast::hash(body) != number(5) {
        return Err(StoredError::Checksum);
    }
    Ok(body)
}

/// Decodes one frame that fills `bytes`.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoredError> {
    serde_cbor::from_slice(verified(bytes)?).map_err(|error| StoredError::Body(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_flipped_bit_anywhere_is_noticed(values: Vec<u64>, at: prop::sample::Index, bit in 0u8..8) {
            let mut bytes = encode(&values).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(decode::<Vec<u64>>(&bytes).is_err());
        }

        #[test]
        fn junk_is_refused_without_a_panic(bytes: Vec<u8>) {
            let _ = decode::<Vec<u64>>(&bytes);
        }

        #[test]
        fn every_cut_is_noticed(values: Vec<u64>, at: prop::sample::Index) {
            let bytes = encode(&values).unwrap();
            let cut = at.index(bytes.len());
            prop_assert!(decode::<Vec<u64>>(&bytes[..cut]).is_err());
        }
    }
}
