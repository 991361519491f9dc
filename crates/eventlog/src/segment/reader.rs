//! Reads entries that were written, from any thread, and checks each again before it is handed out.

use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::{fs, io};

use bytes::Bytes;

use super::file::Segment;
use super::frame;

/// An entry's index and payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) index: u64,
    pub(crate) payload: Bytes,
}

/// Why entries can't be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error(
        "{path}: the frame of entry {index} at byte {offset} does not check: the disk returned something else \
         than was written; replace this replica's data from a peer"
    )]
    Damaged { path: PathBuf, offset: u32, index: u64 },
    #[error("{path}: reading entry {index} failed")]
    Io {
        path: PathBuf,
        index: u64,
        source: io::Error,
    },
}

/// What readers and the store share: the segments, and the first index that was not purged.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) segments: Vec<Segment>,
    pub(super) first: u64,
}

impl Shared {
    fn position(&self, index: u64) -> Option<usize> {
        let after = self.segments.partition_point(|segment| segment.first <= index);
        let at = after.checked_sub(1)?;
        (index < self.segments[at].next()).then_some(at)
    }

    pub(super) fn next(&self) -> u64 {
        self.segments
            .last()
            .map_or(self.first, |segment| segment.next().max(self.first))
    }
}

/// A handle to read with; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct SegmentReader {
    pub(super) shared: Arc<RwLock<Shared>>,
}

impl SegmentReader {
    /// The indexes that can be read.
    pub(crate) fn bounds(&self) -> Range<u64> {
        let shared = self.lock();
        shared.first..shared.next()
    }

    /// Reads nothing up to `upto` any more, by any handle; the files stay until that is purged.
    pub(crate) fn leave_out(&self, upto: u64) {
        let mut shared = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        shared.first = shared.first.max(upto + 1);
    }

    /// The first entry of the newest segments that together have at most `bytes`; of the newest one, when that alone
    /// has more. 0 when there is nothing.
    pub(crate) fn first_of_last(&self, bytes: u64) -> u64 {
        let shared = self.lock();
        let mut sum = 0;
        let mut within = shared.segments.iter().rev().take_while(|segment| {
            let first = sum == 0;
            sum += u64::from(segment.end);
            first || sum <= bytes
        });
        let first = within.next().map_or(0, |segment| segment.first);
        within.last().map_or(first, |segment| segment.first)
    }

    /// The entries of `range` that there are, in order, ending early once `max_bytes` are reached but never
    /// before one entry. Blocks on the disk.
    pub(crate) fn read(&self, range: Range<u64>, max_bytes: usize) -> Result<Vec<Entry>, ReadError> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut index = range.start.max(self.lock().first);
        while index < range.end && (entries.is_empty() || bytes < max_bytes) {
            let Some(run) = self.run(index, range.end, max_bytes - bytes) else {
                break;
            };
            let before = entries.len();
            run.read_into(&mut entries)?;
            bytes += run.end as usize - run.start as usize;
            index += (entries.len() - before) as u64;
        }
        Ok(entries)
    }

    /// The longest run of entries from `index` on that lies in one segment and within `max_bytes`.
    fn run(&self, index: u64, end: u64, max_bytes: usize) -> Option<Run> {
        let shared = self.lock();
        let segment = &shared.segments[shared.position(index)?];
        let (start, mut stop) = segment.extent(index)?;
        let mut count = 1;
        while let Some((_, next)) = segment.extent(index + count) {
            if index + count >= end || (next - start) as usize > max_bytes {
                break;
            }
            stop = next;
            count += 1;
        }
        Some(Run {
            path: segment.path.clone(),
            file: segment.file.clone(),
            first: index,
            start,
            end: stop,
        })
    }

    fn lock(&self) -> RwLockReadGuard<'_, Shared> {
        // A panic while it was held leaves nothing half done: writers change it by single pushes and drains.
        self.shared.read().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Run {
    path: PathBuf,
    file: Arc<fs::File>,
    first: u64,
    start: u32,
    end: u32,
}

impl Run {
    fn read_into(&self, entries: &mut Vec<Entry>) -> Result<(), ReadError> {
        let mut buffer = vec![0; (self.end - self.start) as usize];
        self.file
            .read_exact_at(&mut buffer, u64::from(self.start))
            .map_err(|source| ReadError::Io {
                path: self.path.clone(),
                index: self.first,
                source,
            })?;
        let buffer = Bytes::from(buffer);
        let (mut at, mut index) = (0, self.first);
        while at < buffer.len() {
            match frame::parse(&buffer[at..]) {
                Ok(frame) if frame.index == index => {
                    entries.push(Entry {
                        index,
                        payload: buffer.slice_ref(frame.payload),
                    });
                    at += frame.len;
                    index += 1;
                }
                _ => {
                    let offset = self.start + at as u32;
                    return Err(ReadError::Damaged {
                        path: self.path.clone(),
                        offset,
                        index,
                    });
                }
            }
        }
        Ok(())
    }
}
