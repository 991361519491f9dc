//! What a segment holds after a restart: which frames are whole, where a torn tail begins, and what is damage.
//!
//! Only the last segment can have a torn tail, since a segment is left after its last write was flushed. In
//! it, bytes that are no frame are a torn tail only if an interrupted write explains them: the rest is zeros,
//! or the frame ends in zeros, or whole sectors of it are still zero; and no later frame proves that they had
//! been flushed. Everything else is damage, which is refused and never cut, because it may have been
//! acknowledged. That takes the disk to write sectors of 512 bytes whole or not at all.

use std::fs::OpenOptions;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file::{FILE_HEADER, Segment, check_header};
use super::frame::{self, Damage, HEADER};

const SECTOR: usize = 512;

/// Why a log can't be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error(
        "{path}: damaged at byte {offset}: {what}; nothing was changed. The log before it may have been \
         acknowledged, so it is not cut off: move this directory away and restore it from a backup. Without one, this replica is lost: \
         it can't start over under its number, since what it voted for would be forgotten"
    )]
    Damaged {
        path: PathBuf,
        offset: usize,
        what: String,
    },
    #[error("{path}: {what}; use the version of the program that wrote it, or a later one")]
    Version { path: PathBuf, what: String },
    #[error(
        "{path} should begin with entry {expected}: a segment is missing or was renamed; restore the directory \
         from a backup; without one, this replica is lost"
    )]
    Gap { path: PathBuf, expected: u64 },
    #[error("{path}")]
    Io { path: PathBuf, source: io::Error },
}

/// What a segment's file holds.
#[derive(Debug)]
pub(super) struct Scanned {
    /// The offset of each entry, in order of index.
    pub(super) offsets: Vec<u32>,
    /// Where the next frame goes.
    pub(super) end: u32,
    /// The torn bytes that the file ends with.
    pub(super) torn: Option<Range<usize>>,
}

/// Opens the segment at `path`, whose name says that it begins with `first`. `last` says that no segment
/// follows it, so that its tail may be torn. Returns the segment and how many torn bytes it ends with, which
/// the caller has to clear.
pub(super) fn open(
    path: &Path,
    first: u64,
    last: bool,
) -> Result<(Segment, Option<Range<usize>>), OpenError> {
    let io = |source| OpenError::Io {
        path: path.to_owned(),
        source,
    };
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(io)?;
    let bytes = std::fs::read(path).map_err(io)?;
    let scanned = scan(path, &bytes, first, last)?;
    let segment = Segment {
        first,
        path: path.to_owned(),
        file: Arc::new(file),
        offsets: scanned.offsets,
        end: scanned.end,
        size: bytes.len() as u64,
    };
    Ok((segment, scanned.torn))
}

/// Checks every frame in `bytes`, the content of the segment at `path`.
pub(super) fn scan(path: &Path, bytes: &[u8], first: u64, last: bool) -> Result<Scanned, OpenError> {
    let damaged = |offset, what: &str| OpenError::Damaged {
        path: path.to_owned(),
        offset,
        what: what.to_owned(),
    };
    let told = check_header(bytes).map_err(|what| match what.contains("version") {
        true => OpenError::Version {
            path: path.to_owned(),
            what,
        },
        false => damaged(0, &what),
    })?;
    if told != first {
        return Err(damaged(
            0,
            &format!("its header says that it begins with entry {told}"),
        ));
    }
    let mut offsets = Vec::new();
    let mut at = FILE_HEADER;
    let torn = loop {
        match frame::parse(&bytes[at.min(bytes.len())..]) {
            Ok(frame) if frame.index == first + offsets.len() as u64 => {
                offsets.push(at as u32);
                at += frame.len;
            }
            Ok(frame) => return Err(damaged(at, &format!("it is entry {}, out of order", frame.index))),
            Err(Damage::Version(version)) => {
                let what = format!("the frame at byte {at} has format version {version}");
                return Err(OpenError::Version {
                    path: path.to_owned(),
                    what,
                });
            }
            Err(damage) => break classify(bytes, at, damage, last).map_err(|what| damaged(at, what))?,
        }
    };
    Ok(Scanned {
        offsets,
        end: at as u32,
        torn,
    })
}

/// The torn bytes at `at`, `None` if the log ends there cleanly, or why it is damage.
fn classify(
    bytes: &[u8],
    at: usize,
    damage: Damage,
    last: bool,
) -> Result<Option<Range<usize>>, &'static str> {
    let Some(end) = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map(|last| last + 1)
        .filter(|end| *end > at)
    else {
        return Ok(None);
    };
    if !last {
        return Err("no frame, in a segment that was complete before the next one was begun");
    }
    if was_flushed(bytes, at) {
        return Err("no frame, before others that were written after it had been flushed");
    }
    let torn = match damage {
        Damage::Header => end < at + HEADER || sector_rest(bytes, at),
        Damage::Body { len } => end < at + len || has_zero_sector(bytes, at..at + len),
        Damage::Version(_) => false,
    };
    if torn {
        Ok(Some(at..end))
    } else {
        Err("a frame that was whole once and does not check now")
    }
}

/// Whether a valid frame after `at` was written by a write that began after `at`.
fn was_flushed(bytes: &[u8], at: usize) -> bool {
    (at..bytes.len())
        .step_by(HEADER)
        .skip(1)
        .any(|later| frame::parse(&bytes[later..]).is_ok_and(|frame| frame.batch_start as usize > at))
}

/// Whether `at` up to the end of its sector is all zeros.
fn sector_rest(bytes: &[u8], at: usize) -> bool {
    let end = (at + 1).next_multiple_of(SECTOR).min(bytes.len());
    bytes[at..end].iter().all(|byte| *byte == 0)
}

/// Whether any sector's share of `frame` is all zeros.
fn has_zero_sector(bytes: &[u8], frame: Range<usize>) -> bool {
    let mut at = frame.start;
    while at < frame.end {
        let end = (at + 1).next_multiple_of(SECTOR).min(frame.end);
        if bytes[at..end.min(bytes.len()).max(at)]
            .iter()
            .all(|byte| *byte == 0)
        {
            return true;
        }
        at = end;
    }
    false
}
