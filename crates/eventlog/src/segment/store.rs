//! The segments of one directory: append, truncate, purge. One owner, blocking; its caller is the writer
//! thread.
//!
//! An error of any of these leaves what is on disk unknown, so the owner must not go on after one: it may only do the
//! same again, from its beginning, where the disk refused it. So files go before they are forgotten here.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use bytes::Bytes;

use super::MAX_PAYLOAD;
use super::file::{FILE_HEADER, Segment};
use super::frame;
use super::reader::{SegmentReader, Shared};
use super::recover::{self, OpenError};
use super::scan::segment_files;
use super::spare::Spare;
use crate::files::{Dir, Disk};

const SPARE: &str = "spare.tmp";

/// The segment files of a log.
#[derive(Debug)]
pub(crate) struct SegmentStore {
    dir: Arc<Dir>,
    shared: Arc<RwLock<Shared>>,
    spare: Spare,
    /// Kept between appends to save the allocation.
    buffer: Vec<u8>,
}

impl SegmentStore {
    /// Opens the segments in `dir`, checks every frame, and cuts a torn tail. New segments have
    /// `segment_size` bytes. Entries below `first` count as purged.
    pub(crate) fn open(dir: Arc<Dir>, segment_size: u64, first: u64) -> Result<Self, OpenError> {
        let io = |path: PathBuf| move |source| OpenError::Io { path, source };
        let firsts = segment_files(dir.path()).map_err(io(dir.path().to_owned()))?;
        let mut shared = Shared {
            segments: Vec::new(),
            first,
        };
        for (at, begins) in firsts.iter().enumerate() {
            let next = firsts.get(at + 1);
            let path = dir.path().join(super::file::file_name(*begins));
            if next.is_some_and(|next| *next <= first) {
                std::fs::remove_file(&path).map_err(io(path.clone()))?;
                continue;
            }
            let (mut segment, torn) = recover::open(&path, *begins, next.is_none())?;
            if let Some(torn) = torn {
                tracing::warn!(path = %path.display(), offset = torn.start, bytes = torn.len(),
                    "cutting a torn tail: a write that was never flushed, so never acknowledged");
                cut(&mut segment, torn.start as u32).map_err(io(path.clone()))?;
            }
            let expected = shared.segments.last().map(Segment::next);
            if let Some(expected) = expected.filter(|expected| *expected != *begins) {
                return Err(OpenError::Gap { path, expected });
            }
            if expected.is_none() && *begins > first {
                return Err(OpenError::Gap {
                    path,
                    expected: first,
                });
            }
            shared.segments.push(segment);
        }
        let spare = Spare::new(dir.path().join(SPARE), segment_size);
        let mut store = Self {
            dir,
            shared: Arc::new(RwLock::new(shared)),
            spare,
            buffer: Vec::new(),
        };
        let path = store.dir.path().to_owned();
        store.drop_purged().map_err(io(path.clone()))?;
        store.flush_what_was_found().map_err(io(path))?;
        Ok(store)
    }

    /// What a killed process wrote may still be in the page cache only, and it counts as written from now on.
    fn flush_what_was_found(&self) -> io::Result<()> {
        let last = self.lock().segments.last().map(|segment| segment.file.clone());
        last.map_or(Ok(()), |file| file.sync_all())?;
        self.dir.sync()
    }

    /// The disk that they are on.
    pub(crate) fn disk(&self) -> Disk {
        self.dir.disk().clone()
    }

    /// A handle for other threads to read with.
    pub(crate) fn reader(&self) -> SegmentReader {
        SegmentReader {
            shared: self.shared.clone(),
        }
    }

    /// Appends `payloads` from index `first` on, in one write, and flushes it. `first` has to be the next
    /// index, or anything if the log is empty.
    pub(crate) fn append(&mut self, first: u64, payloads: &[Bytes]) -> io::Result<()> {
        if payloads.is_empty() {
            return Ok(());
        }
        if let Some(large) = payloads.iter().find(|payload| payload.len() > MAX_PAYLOAD) {
            let what = format!("an entry of {} bytes is larger than {MAX_PAYLOAD}", large.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let bounds = self.reader().bounds();
        if !bounds.is_empty() && first != bounds.end || first < bounds.start {
            let what = format!("entry {first} does not follow {bounds:?}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let len: usize = payloads
            .iter()
            .map(|payload| frame::framed_len(payload.len()))
            .sum();
        self.ensure_room(first, len)?;
        let (file, start) = {
            let shared = self.lock();
            let segment = shared
                .segments
                .last()
                .expect("there is room, so there is a segment");
            (segment.file.clone(), segment.end)
        };
        self.buffer.clear();
        let mut offsets = Vec::with_capacity(payloads.len());
        for (index, payload) in (first..).zip(payloads) {
            offsets.push(start + self.buffer.len() as u32);
            frame::encode(&mut self.buffer, index, start, payload);
        }
        file.write_all_at(&self.buffer, u64::from(start))?;
        file.sync_data()?;
        let mut shared = self.lock();
        let segment = shared.segments.last_mut().expect("it was there above");
        segment.offsets.append(&mut offsets);
        segment.end = start + len as u32;
        Ok(())
    }

    /// Removes `since` and everything after it.
    pub(crate) fn truncate(&mut self, since: u64) -> io::Result<()> {
        loop {
            let mut shared = self.lock();
            let Some(segment) = shared
                .segments
                .last_mut()
                .filter(|segment| segment.next() > since)
            else {
                return Ok(());
            };
            // A segment that begins with `since` is kept, empty: its file is good.
            if segment.first > since {
                let path = segment.path.clone();
                drop(shared);
                remove(&path)?;
                // One at a time, newest first, so that a crash in between leaves no hole.
                self.dir.sync()?;
                self.lock().segments.pop();
            } else {
                let (offset, _) = segment.extent(since).expect("the segment ends after it");
                return cut(segment, offset);
            }
        }
    }

    /// Forgets everything up to `upto`, and deletes the segments that hold nothing else.
    pub(crate) fn purge(&mut self, upto: u64) -> io::Result<()> {
        {
            let mut shared = self.lock();
            shared.first = shared.first.max(upto + 1);
        }
        self.drop_purged()
    }

    fn drop_purged(&mut self) -> io::Result<()> {
        let gone: Vec<PathBuf> = {
            let shared = self.lock();
            let purged = |segment: &&Segment| segment.next() <= shared.first;
            let purged = shared.segments.iter().take_while(purged);
            purged.map(|segment| segment.path.clone()).collect()
        };
        if gone.is_empty() {
            return Ok(());
        }
        gone.iter().try_for_each(|path| remove(path))?;
        self.dir.sync()?;
        self.lock().segments.drain(..gone.len());
        Ok(())
    }

    /// Makes the last segment one that has `len` bytes free; `first` is the index to come.
    fn ensure_room(&mut self, first: u64, len: usize) -> io::Result<()> {
        let fits = self.lock().segments.last().is_some_and(|segment| {
            segment.next() == first && u64::from(segment.end) + len as u64 <= segment.size
        });
        if fits {
            return Ok(());
        }
        let (prepared, size) = self.spare.take((FILE_HEADER + len) as u64)?;
        self.drop_empty_last()?;
        let segment = Segment::create(&self.dir, &prepared, first, size)?;
        self.spare.prepare();
        self.lock().segments.push(segment);
        Ok(())
    }

    /// An empty segment, as a truncation leaves it, can't be followed by another: both would begin alike.
    fn drop_empty_last(&mut self) -> io::Result<()> {
        let empty = {
            let shared = self.lock();
            let last = shared.segments.last();
            last.filter(|segment| segment.offsets.is_empty())
                .map(|segment| segment.path.clone())
        };
        let Some(path) = empty else {
            return Ok(());
        };
        remove(&path)?;
        self.dir.sync()?;
        self.lock().segments.pop();
        Ok(())
    }

    fn lock(&self) -> RwLockWriteGuard<'_, Shared> {
        self.shared.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes a file, unless a try that came to nothing got so far.
fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Clears everything from `offset` on, and makes that last.
fn cut(segment: &mut Segment, offset: u32) -> io::Result<()> {
    segment.file.set_len(u64::from(offset))?;
    segment.file.set_len(segment.size)?;
    segment.file.sync_all()?;
    segment.offsets.retain(|start| *start < offset);
    segment.end = offset;
    Ok(())
}
