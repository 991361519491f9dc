//! The form of a snapshot's file: what it is a snapshot of, the state, and a digest of both.
//!
//! ```text
//! 0    magic    8    "CHVSNAPF"
//! 8    version  u32  little endian, as all numbers here
//! 12   length   u32  of the description
//! 16   a stored frame: Raft's description of the snapshot
//!      the state's tables, in frames that are compressed one by one
//!      a stored frame: where those are, and the rest of the state
//! end  length   u64  of that
//!      SHA-256  32   of all before it
//!      magic    8    "CHVSNAPE"
//! ```
//!
//! A frame is taken over from the file that was written last where its entries have not changed since ([`table`]). The
//! digest is checked before anything of the state is decoded.

mod frame;
mod table;

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use chv_domain::stored::{self, StoredError};
use chv_domain::{CommandId, Outcome, Parts, Projection, Rest, Vm, VmId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use self::frame::Frame;
use self::table::Written;
use super::snapshot::{Meta, State};
use crate::files::{DiskError, Haste, PIECE, Piecewise};

const MAGIC: [u8; 8] = *b"CHVSNAPF";
const END: [u8; 8] = *b"CHVSNAPE";
const VERSION: u32 = 2;
const HEADER: usize = 16;
const TRAILER: usize = 48;
/// Bytes at the end that the digest is not of.
const NOT_DIGESTED: u64 = 40;
/// The largest description: a membership of a few replicas.
const MAX_META: u32 = 1 << 20;

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

/// What a file has besides the frames.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tail {
    rest: Rest,
    vms: Vec<Frame<VmId>>,
    outcomes: Vec<Frame<CommandId>>,
}

/// How each table was last written, by whoever writes states of one replica: from there on the next one goes on.
#[derive(Clone, Default)]
pub(crate) struct LastWritten(Arc<Mutex<Last>>);

#[derive(Clone, Default)]
struct Last {
    vms: Option<Arc<Written<VmId, Vm>>>,
    outcomes: Option<Arc<Written<CommandId, Outcome>>>,
}

/// Writes the snapshot of `state` into `file`, which is empty and can be read, and flushes it. The next one takes over from
/// it what has not changed: the file stays open until then.
pub(crate) fn write(
    file: &File,
    state: &State,
    last: &LastWritten,
    haste: &Haste,
) -> Result<(), SnapshotError> {
    let mut to = Output::new(file, haste);
    let meta = stored::encode(&state.meta())?;
    to.write(&MAGIC)?;
    to.write(&VERSION.to_le_bytes())?;
    to.write(&(meta.len() as u32).to_le_bytes())?;
    to.write(&meta)?;
    let Parts { rest, vms, outcomes } = Parts::from(&state.projection);
    let before = last.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let tail = Tail {
        rest,
        vms: table::write(&mut to, &vms, before.vms.as_deref())?,
        outcomes: table::write(&mut to, &outcomes, before.outcomes.as_deref())?,
    };
    let body = stored::encode(&tail)?;
    to.write(&body)?;
    to.write(&(body.len() as u64).to_le_bytes())?;
    to.finish()?;
    let vms = Written::new(&vms, file, &tail.vms)?;
    let outcomes = Written::new(&outcomes, file, &tail.outcomes)?;
    let mut last = last.0.lock().unwrap_or_else(PoisonError::into_inner);
    last.vms = Some(Arc::new(vms));
    // A checkpoint has none, and the next snapshot has them again.
    if !tail.outcomes.is_empty() || state.applied.is_some() {
        last.outcomes = Some(Arc::new(outcomes));
    }
    Ok(())
}

/// SHA-256 of a snapshot, as its end tells it.
pub(crate) fn digest(file: &File) -> Result<[u8; 32], SnapshotError> {
    let size = file.metadata()?.len();
    let mut trailer = [0; TRAILER];
    let at = size
        .checked_sub(TRAILER as u64)
        .ok_or(SnapshotError::Damaged("it is cut off"))?;
    file.read_exact_at(&mut trailer, at)?;
    match trailer[40..] == END {
        true => Ok(trailer[8..40].try_into().expect("thirty-two bytes")),
        false => Err(SnapshotError::Damaged("its end is missing")),
    }
}

/// Checks the whole file; what it is a snapshot of.
pub(crate) fn check(file: &mut File) -> Result<Meta, SnapshotError> {
    let expected = digest(file)?;
    let size = file.metadata()?.len() - NOT_DIGESTED;
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
    meta(|buffer, at| file.read_exact_at(buffer, at))
}

/// Checks the whole file, and reads the state.
pub(crate) fn read(file: &mut File) -> Result<State, SnapshotError> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    parse(&bytes)
}

/// As [`read`], of a file's bytes.
pub(crate) fn parse(bytes: &[u8]) -> Result<State, SnapshotError> {
    let cut_off = || SnapshotError::Damaged("it is cut off");
    let (body, trailer) = bytes.split_last_chunk::<TRAILER>().ok_or_else(cut_off)?;
    let (length, digest) = trailer.split_at(8);
    if digest[32..] != END {
        return Err(SnapshotError::Damaged("its end is missing"));
    }
    let sha = Sha256::new().chain_update(body).chain_update(length).finalize();
    if sha[..] != digest[..32] {
        return Err(SnapshotError::Damaged("its SHA-256 does not match"));
    }
    let meta = meta(|buffer, at| {
        let part = usize::try_from(at)
            .ok()
            .and_then(|at| body.get(at..)?.get(..buffer.len()));
        buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    })?;
    let length = u64::from_le_bytes(length.try_into().expect("eight bytes"));
    let at = usize::try_from(length)
        .ok()
        .and_then(|length| body.len().checked_sub(length))
        .ok_or_else(cut_off)?;
    let tail: Tail = stored::decode(&body[at..])?;
    let parts = Parts {
        rest: tail.rest,
        vms: table::read(&tail.vms, body)?,
        outcomes: table::read(&tail.outcomes, body)?,
    };
    Ok(State {
        applied: meta.last_log_id,
        membership: meta.last_membership,
        projection: Projection::from(parts),
    })
}

/// The description in what `read_at` fills buffers from.
fn meta(read_at: impl Fn(&mut [u8], u64) -> io::Result<()>) -> Result<Meta, SnapshotError> {
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
    Ok(stored::decode(&meta)?)
}

/// A file that is being written, its digest, and how long it is so far.
struct Output<'a> {
    to: BufWriter<Piecewise<'a>>,
    sha: Sha256,
    at: u64,
}

impl<'a> Output<'a> {
    fn new(file: &'a File, haste: &'a Haste) -> Self {
        Self {
            to: BufWriter::with_capacity(PIECE, Piecewise::new(file, haste)),
            sha: Sha256::new(),
            at: 0,
        }
    }

    const fn at(&self) -> u64 {
        self.at
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(bytes)?;
        self.sha.update(bytes);
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Writes the end, and flushes.
    fn finish(mut self) -> io::Result<()> {
        self.to.write_all(&self.sha.finalize())?;
        self.to.write_all(&END)?;
        let to = self.to.into_inner().map_err(io::IntoInnerError::into_error)?;
        to.finish()
    }
}

#[cfg(test)]
mod tests {
    use chv_domain::{Batch, Record, RecordHash, Seq};
    use openraft::LeaderId;

    use super::*;
    use crate::history::format::samples::chain;
    use crate::raft::LogId;

    #[test]
    fn a_snapshot_reads_back_and_every_flipped_byte_and_every_cut_is_refused() {
        let (state, mut file) = (State::default(), tempfile::tempfile().unwrap());
        write(&file, &state, &LastWritten::default(), &Haste::now()).unwrap();
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

    /// Writes the state after each record as a checkpoint and then as a snapshot, each going on from the one before, and
    /// reads them back. The most VMs, and outcomes, that there were.
    fn written_in_turn(records: &[Record]) -> (usize, usize) {
        let (mut state, last) = (State::default(), LastWritten::default());
        let (mut vms, mut outcomes) = (0, 0);
        for (index, record) in (1..).zip(records) {
            let batch = Batch {
                published: Seq::ZERO,
                records: vec![record.clone()],
            };
            state.projection.apply_batch(record.term, &batch);
            state.applied = Some(LogId::new(LeaderId::default(), index));
            let checkpoint = State {
                projection: state.projection.clone().without_outcomes(),
                ..State::default()
            };
            for state in [&checkpoint, &state] {
                let mut file = tempfile::tempfile().unwrap();
                write(&file, state, &last, &Haste::now()).unwrap();
                let read = read(&mut file).unwrap();
                assert_eq!(read.projection, state.projection);
                assert_eq!(read.applied, state.applied);
            }
            vms = vms.max(state.projection.vm_count());
            outcomes = outcomes.max(state.projection.outcome_count());
        }
        (vms, outcomes)
    }

    #[test]
    fn snapshots_and_checkpoints_that_go_on_from_one_another_read_as_the_states_that_they_are_of() {
        let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/../domain/tests/golden/records.bin");
        let of_vms: Vec<Record> = stored::decode(&std::fs::read(kept).unwrap()).unwrap();
        assert!(written_in_turn(&of_vms).0 > 0);
        let of_commands = chain(Seq(1), RecordHash::ZERO, &[(2, 100); 40]);
        assert!(written_in_turn(&of_commands).1 > 1);
    }
}
