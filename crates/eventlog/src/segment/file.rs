//! One segment file: its name, its header, its creation over zeroed space.
//!
//! A segment is named by its first index and made under another name first, so that a file with a segment's
//! name is always whole. Its space is written with zeros, not only reserved: a flush over written space needs
//! no change of the file's extents, which makes it about three times as fast.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::files::{Dir, Haste, PIECE, Piecewise};

/// Bytes before the first frame.
pub(super) const FILE_HEADER: usize = 32;
const MAGIC: [u8; 8] = *b"CHVLOGSG";
/// The version of a segment's file.
pub(crate) const VERSION: u32 = 1;
const PREFIX: &str = "log-";
const SUFFIX: &str = ".seg";

/// A segment that is open: where each of its entries begins, and where the next one goes.
#[derive(Debug)]
pub(super) struct Segment {
    /// The index of its first entry.
    pub(super) first: u64,
    pub(super) path: PathBuf,
    pub(super) file: Arc<File>,
    /// The offset of each entry, in order of index.
    pub(super) offsets: Vec<u32>,
    /// Where the next frame goes.
    pub(super) end: u32,
    /// Of the file.
    pub(super) size: u64,
}

impl Segment {
    /// The index after its last entry.
    pub(super) fn next(&self) -> u64 {
        self.first + self.offsets.len() as u64
    }

    /// Where the frame of `index` begins and ends.
    pub(super) fn extent(&self, index: u64) -> Option<(u32, u32)> {
        let at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        let start = *self.offsets.get(at)?;
        Some((start, self.offsets.get(at + 1).copied().unwrap_or(self.end)))
    }

    /// Turns the zeroed file at `prepared` into the segment that begins with `first`.
    pub(super) fn create(dir: &Dir, prepared: &Path, first: u64, size: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(prepared)?;
        file.write_all_at(&header(first), 0)?;
        file.sync_all()?;
        let path = dir.path().join(file_name(first));
        std::fs::rename(prepared, &path)?;
        dir.sync()?;
        Ok(Self {
            first,
            path,
            file: Arc::new(file),
            offsets: Vec::new(),
            end: FILE_HEADER as u32,
            size,
        })
    }
}

/// Writes a file of `size` zeros and flushes it.
pub(super) fn write_zeroed(path: &Path, size: u64, haste: &Haste) -> io::Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    let mut to = Piecewise::new(&file, haste);
    let zeros = vec![0; PIECE.min(size as usize)];
    let mut left = size as usize;
    while left > 0 {
        let len = left.min(PIECE);
        to.write_all(&zeros[..len])?;
        left -= len;
    }
    to.finish()
}

/// The name of the segment whose first entry is `first`.
pub(super) fn file_name(first: u64) -> String {
    format!("{PREFIX}{first:020}{SUFFIX}")
}

/// The first index that a segment's name tells; `None` for another file.
pub(super) fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    (digits.len() == 20).then(|| digits.parse().ok())?
}

fn header(first: u64) -> [u8; FILE_HEADER] {
    let mut bytes = [0; FILE_HEADER];
    bytes[0..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[16..24].copy_from_slice(&first.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..28]);
    bytes[28..32].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The first index that a segment's header tells, or what is wrong with it.
pub(super) fn check_header(bytes: &[u8]) -> Result<u64, String> {
    let header = bytes
        .get(..FILE_HEADER)
        .ok_or("the file is shorter than its header")?;
    if header[0..8] != MAGIC || crc32fast::hash(&header[..28]).to_le_bytes() != header[28..32] {
        return Err("the segment's header does not check".to_owned());
    }
    let version = u32::from_le_bytes(header[8..12].try_into().expect("four bytes"));
    if version != VERSION {
        return Err(format!(
            "the segment has format version {version}, this program knows {VERSION}"
        ));
    }
    Ok(u64::from_le_bytes(
        header[16..24].try_into().expect("eight bytes"),
    ))
}
