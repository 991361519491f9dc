//! Segments as they lie there, for who only looks: nothing is opened for writing, cut, flushed or deleted.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::file::{file_name, first_of};
use super::frame;
use super::reader::Entry;
use super::recover::{self, OpenError, Scanned};

/// The first indexes of the segments in `dir`, in order.
pub(crate) fn segment_files(dir: &Path) -> io::Result<Vec<u64>> {
    let mut firsts = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        firsts.extend(entry?.file_name().to_str().and_then(first_of));
    }
    firsts.sort_unstable();
    Ok(firsts)
}

/// A segment whose every frame was checked.
#[derive(Debug)]
pub(crate) struct ScannedSegment {
    pub(crate) path: PathBuf,
    /// The index of its first entry.
    pub(crate) first: u64,
    bytes: Bytes,
    scanned: Scanned,
}

impl ScannedSegment {
    /// Reads the segment of `dir` that begins with `first`; `last` says that no other follows it, so that its
    /// tail may be torn.
    pub(crate) fn read(dir: &Path, first: u64, last: bool) -> Result<Self, OpenError> {
        let path = dir.join(file_name(first));
        let bytes = std::fs::read(&path).map_err(|source| OpenError::Io {
            path: path.clone(),
            source,
        })?;
        let scanned = recover::scan(&path, &bytes, first, last)?;
        Ok(Self {
            path,
            first,
            bytes: bytes.into(),
            scanned,
        })
    }

    /// The size of its file, in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// How many of these bytes are in use.
    pub(crate) fn used(&self) -> u64 {
        self.scanned.end.into()
    }

    /// The bytes at its end of a write that was never flushed.
    pub(crate) fn torn(&self) -> Option<Range<usize>> {
        self.scanned.torn.clone()
    }

    /// How many entries it holds.
    pub(crate) fn count(&self) -> u64 {
        self.scanned.offsets.len() as u64
    }

    /// The index after its last entry.
    pub(crate) fn next(&self) -> u64 {
        self.first + self.count()
    }

    /// Its entries, each with the offset of its frame.
    pub(crate) fn entries(&self) -> impl DoubleEndedIterator<Item = (u64, Entry)> + '_ {
        (self.first..)
            .zip(&self.scanned.offsets)
            .take(self.scanned.offsets.len())
            .collect::<Vec<_>>()
            .into_iter()
            .map(|(index, offset)| {
                let frame = frame::parse(&self.bytes[*offset as usize..])
                    .expect("it was parsed when the segment was scanned, and is in memory since");
                let payload = self.bytes.slice_ref(frame.payload);
                (u64::from(*offset), Entry { index, payload })
            })
    }
}
