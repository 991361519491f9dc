//! The form of a snapshot's file: what it is a snapshot of, the state, and a digest of both.
//!
//! ```text
//! 0    magic    8    "CHVSNAPF"
//! 8    version  u32  little endian, as the next
//! 12   length   u32  of the description
//! 16   a stored frame: Raft's description of the snapshot
//!      the state, compressed by zstd
//! end  SHA-256  32   of all before it
//!      magic    8    "CHVSNAPE"
//! ```
//!
//! Written and read as a stream: the state is never in memory in this form. The digest is checked before anything of
//! the state is decoded.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

use chv_domain::stored::{self, StoredError};
use sha2::{Digest, Sha256};

use super::snapshot::{Meta, State};
use crate::files::DiskError;

const MAGIC: [u8; 8] = *b"CHVSNAPF";
const END: [u8; 8] = *b"CHVSNAPE";
const VERSION: u32 = 1;
const HEADER: usize = 16;
const TRAILER: u64 = 40;
/// The largest description: a membership of a few replicas.
const MAX_META: u32 = 1 << 20;
/// The fastest: a snapshot is replaced within minutes.
const LEVEL: i32 = 1;

/// Why a snapshot's file is not written or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    /// The file system.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Not what was written.
    #[error("the snapshot is damaged: {0}")]
    Damaged(&'static str),
    /// Another version's.
    #[error(
        "the snapshot has format version {0}, this program knows {VERSION}; use the program that wrote it or newer"
    )]
    Version(u32),
    /// Whole, but not decoded.
    #[error(transparent)]
    Stored(#[from] StoredError),
}

impl DiskError for SnapshotError {
    fn is_read_only(&self) -> bool {
        matches!(self, Self::Io(error) if error.is_read_only())
    }
}

/// Writes the snapshot of `state`, and flushes it.
pub(crate) fn write(file: &File, state: &State) -> Result<(), SnapshotError> {
    let mut hashed = Hashed {
        to: BufWriter::with_capacity(1 << 20, file),
        sha: Sha256::new(),
    };
    let meta = stored::encode(&state.meta())?;
    hashed.write_all(&MAGIC)?;
    hashed.write_all(&VERSION.to_le_bytes())?;
    hashed.write_all(&(meta.len() as u32).to_le_bytes())?;
    hashed.write_all(&meta)?;
    let mut compressed = BufWriter::with_capacity(256 << 10, zstd::Encoder::new(&mut hashed, LEVEL)?);
    stored::write(&mut compressed, state)?;
    let compressed = compressed.into_inner().map_err(io::IntoInnerError::into_error)?;
    compressed.finish()?;
    let digest = hashed.sha.finalize();
    let mut to = hashed.to;
    to.write_all(&digest)?;
    to.write_all(&END)?;
    to.flush()?;
    file.sync_all()?;
    Ok(())
}

/// SHA-256 of a snapshot, as its end tells it.
pub(crate) fn digest(file: &File) -> Result<[u8; 32], SnapshotError> {
    let size = file.metadata()?.len();
    let mut trailer = [0; TRAILER as usize];
    let at = size
        .checked_sub(TRAILER)
        .ok_or(SnapshotError::Damaged("it is cut off"))?;
    file.read_exact_at(&mut trailer, at)?;
    match trailer[32..] == END {
        true => Ok(trailer[..32].try_into().expect("thirty-two bytes")),
        false => Err(SnapshotError::Damaged("its end is missing")),
    }
}

/// Checks the whole file; what it is a snapshot of.
pub(crate) fn check(file: &mut File) -> Result<Meta, SnapshotError> {
    let expected = digest(file)?;
    let size = file.metadata()?.len() - TRAILER;
    file.seek(SeekFrom::Start(0))?;
    let (mut sha, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    let mut rest = file.take(size);
    loop {
        match rest.read(&mut buffer)? {
            0 => break,
            count => sha.update(&buffer[..count]),
        }
    }
    if <[u8; 32]>::from(sha.finalize()) != expected {
        return Err(SnapshotError::Damaged("its SHA-256 does not match"));
    }
    Ok(meta(|buffer, at| file.read_exact_at(buffer, at))?.0)
}

/// Checks the whole file, and reads the state.
pub(crate) fn read(file: &mut File) -> Result<State, SnapshotError> {
    check(file)?;
    let (_, at) = meta(|buffer, at| file.read_exact_at(buffer, at))?;
    let size = file.metadata()?.len() - TRAILER;
    file.seek(SeekFrom::Start(at))?;
    let compressed = zstd::Decoder::new(file.take(size.saturating_sub(at)))?;
    Ok(stored::read(BufReader::with_capacity(256 << 10, compressed))?)
}

/// As [`read`], of a file's bytes.
pub(crate) fn parse(bytes: &[u8]) -> Result<State, SnapshotError> {
    let cut_off = SnapshotError::Damaged("it is cut off");
    let (body, trailer) = bytes.split_last_chunk::<{ TRAILER as usize }>().ok_or(cut_off)?;
    if trailer[32..] != END {
        return Err(SnapshotError::Damaged("its end is missing"));
    }
    if Sha256::digest(body)[..] != trailer[..32] {
        return Err(SnapshotError::Damaged("its SHA-256 does not match"));
    }
    let (_, at) = meta(|buffer, at| {
        let part = usize::try_from(at)
            .ok()
            .and_then(|at| body.get(at..)?.get(..buffer.len()));
        buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    })?;
    Ok(stored::read(zstd::Decoder::new(&body[at as usize..])?)?)
}

/// The description, and where the state begins, of what `read_at` fills buffers from.
fn meta(read_at: impl Fn(&mut [u8], u64) -> io::Result<()>) -> Result<(Meta, u64), SnapshotError> {
    let mut header = [0; HEADER];
    read_at(&mut header, 0)?;
    if header[..8] != MAGIC {
        return Err(SnapshotError::Damaged("it does not begin as one"));
    }
    let number = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
    if number(8) != VERSION {
        return Err(SnapshotError::Version(number(8)));
    }
    if number(12) > MAX_META {
        return Err(SnapshotError::Damaged("its description can't be that long"));
    }
    let mut meta = vec![0; number(12) as usize];
    read_at(&mut meta, HEADER as u64)?;
    Ok((stored::decode(&meta)?, (HEADER + meta.len()) as u64))
}

struct Hashed<W> {
    to: W,
    sha: Sha256,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.sha.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_snapshot_reads_back_and_every_flipped_byte_and_every_cut_is_refused() {
        let (state, mut file) = (State::default(), tempfile::tempfile().unwrap());
        write(&file, &state).unwrap();
        assert_eq!(read(&mut file).unwrap().projection, state.projection);
        assert_eq!(check(&mut file).unwrap(), state.meta());

        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        assert_eq!(parse(&bytes).unwrap().projection, state.projection);
        let refused = |bytes: &[u8]| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            read(&mut file).is_err() && parse(bytes).is_err()
        };
        for at in 0..bytes.len() {
            bytes[at] ^= 0x41;
            assert!(refused(&bytes), "byte {at}");
            bytes[at] ^= 0x41;
            assert!(refused(&bytes[..at]), "cut at {at}");
        }
    }
}
