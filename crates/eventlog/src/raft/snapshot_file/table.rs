//! A table of the state in frames. What has not changed since it was last written is taken over as it is: to encode it is
//! several times the work.

use std::fs::File;
use std::io;
use std::num::NonZero;
use std::ops::Bound;
use std::sync::Arc;

use chv_domain::{Table, stored};
use imbl::ordmap::DiffItem;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::frame::Frame;
use super::{Output, SnapshotError};

/// A frame is cut off once its entries take so many bytes, and as many follow. Large enough to be compressed well, and so
/// small that what changes here and there leaves many as they are.
const FULL: usize = 32 << 10;

/// With fewer bytes than this a frame is filled with what follows rather than closed, so that they don't get ever smaller.
/// What is left of a frame from which others were cut off is never that small: else each change would move the beginnings of
/// all frames after it.
const SMALL: usize = FULL / 4;

/// The fastest: a snapshot is replaced within minutes.
const LEVEL: i32 = 1;

/// So many frames are worth another thread to read them.
const FRAMES_A_THREAD: usize = 8;

/// The most threads that read a table.
const THREADS: usize = 4;

/// A table as it was last written.
pub(super) struct Written<K, V> {
    table: Table<K, V>,
    file: File,
    frames: Vec<Frame<K>>,
}

impl<K: Clone, V> Written<K, V> {
    /// `frames` are in `file`, which is kept open.
    pub(super) fn new(table: &Table<K, V>, file: &File, frames: &[Frame<K>]) -> io::Result<Self> {
        Ok(Self {
            table: table.clone(),
            file: file.try_clone()?,
            frames: frames.to_vec(),
        })
    }
}

/// Writes `table`, taking over what it has in common with `last`.
pub(super) fn write<K, V>(
    to: &mut Output<'_>,
    table: &Table<K, V>,
    last: Option<&Written<K, V>>,
) -> Result<Vec<Frame<K>>, SnapshotError>
where
    K: Ord + Clone + Serialize,
    V: Eq + Serialize,
{
    if table.is_empty() {
        return Ok(Vec::new());
    }
    let mut writer = Writer {
        to,
        compressor: zstd::bulk::Compressor::new(LEVEL)?,
        open: None,
        cut: None,
        plain: Vec::with_capacity(3 * FULL),
        frames: Vec::new(),
    };
    let Some(last) = last.filter(|last| !last.frames.is_empty()) else {
        writer.entries(table.iter())?;
        return writer.finish();
    };
    let mut changed = last
        .table
        .diff(table)
        .map(|change| match change {
            DiffItem::Add(key, _) | DiffItem::Remove(key, _) => key,
            DiffItem::Update { new: (key, _), .. } => key,
        })
        .peekable();
    let (mut start, mut following) = (Bound::Unbounded, last.frames.iter().skip(1));
    for frame in &last.frames {
        let end = following.next().map(|next| &next.first);
        let mut same = true;
        while changed.next_if(|key| end.is_none_or(|end| *key < end)).is_some() {
            same = false;
        }
        match same.then(|| frame.bytes(&last.file)).flatten() {
            Some(bytes) if writer.is_closable() => writer.take_over(frame, &bytes)?,
            _ => {
                let range = (start, end.map_or(Bound::Unbounded, Bound::Excluded));
                writer.entries(table.range::<_, K>(range))?;
            }
        }
        start = end.map_or(Bound::Unbounded, Bound::Included);
    }
    writer.finish()
}

/// A place in a frame that is being filled.
struct Cut<K> {
    /// Bytes before it.
    length: usize,
    /// Entries before it.
    count: u32,
    /// The first key after it.
    next: K,
}

struct Writer<'a, 'f, K> {
    to: &'a mut Output<'f>,
    compressor: zstd::bulk::Compressor<'static>,
    /// The first key of the frame that is being filled, and how many entries it has.
    open: Option<(K, u32)>,
    /// Where it is cut off once enough follows.
    cut: Option<Cut<K>>,
    /// Its entries.
    plain: Vec<u8>,
    frames: Vec<Frame<K>>,
}

impl<K: Clone + Serialize> Writer<'_, '_, K> {
    fn entries<'e, V: Serialize + 'e>(
        &mut self,
        entries: impl Iterator<Item = (&'e K, &'e Arc<V>)>,
    ) -> Result<(), SnapshotError>
    where
        K: 'e,
    {
        for (key, value) in entries {
            let (length, open) = (
                self.plain.len(),
                self.open.get_or_insert_with(|| (key.clone(), 0)),
            );
            if length >= FULL && self.cut.is_none() {
                let (count, next) = (open.1, key.clone());
                self.cut = Some(Cut { length, count, next });
            }
            open.1 += 1;
            stored::write(&mut self.plain, &(key, &**value))?;
            if let Some(cut) = self.cut.take_if(|cut| self.plain.len() >= cut.length + FULL) {
                self.cut_off(cut)?;
            }
        }
        Ok(())
    }

    fn is_closable(&self) -> bool {
        self.plain.is_empty() || self.plain.len() >= SMALL
    }

    fn take_over(&mut self, frame: &Frame<K>, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.close()?;
        let at = self.to.at();
        self.to.write(bytes)?;
        self.frames.push(Frame { at, ..frame.clone() });
        Ok(())
    }

    /// Closes what is before `cut`; what is after it is a frame of its own.
    fn cut_off(&mut self, cut: Cut<K>) -> Result<(), SnapshotError> {
        let after = self.plain.split_off(cut.length);
        let left = self.open.as_mut().map_or(0, |open| {
            let left = open.1 - cut.count;
            open.1 = cut.count;
            left
        });
        self.close()?;
        self.plain.extend_from_slice(&after);
        self.open = Some((cut.next, left));
        Ok(())
    }

    fn close(&mut self) -> Result<(), SnapshotError> {
        self.cut = None;
        let Some((first, count)) = self.open.take() else {
            return Ok(());
        };
        let bytes = self.compressor.compress(&self.plain)?;
        let length = |bytes: &[u8]| {
            u32::try_from(bytes.len()).map_err(|_| io::Error::other("one entry takes more than 4 GiB"))
        };
        let at = self.to.at();
        self.to.write(&bytes)?;
        self.frames.push(Frame {
            first,
            count,
            at,
            length: length(&bytes)?,
            plain: length(&self.plain)?,
            crc: crc32fast::hash(&bytes),
        });
        self.plain.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Frame<K>>, SnapshotError> {
        self.close()?;
        Ok(self.frames)
    }
}

/// Reads the table that has these frames, on several processors where it is large. `body` is all of the file.
pub(super) fn read<K, V>(frames: &[Frame<K>], body: &[u8]) -> Result<Table<K, V>, SnapshotError>
where
    K: Ord + Clone + DeserializeOwned + Send + Sync,
    V: DeserializeOwned + Send + Sync,
{
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = (frames.len() / FRAMES_A_THREAD).clamp(1, THREADS.min(processors));
    let (first, others) = frames.split_at(frames.len() / threads);
    let entries = std::thread::scope(|scope| {
        let others: Vec<_> = others
            .chunks(frames.len().div_ceil(threads).max(1))
            .map(|part| scope.spawn(move || entries(part, body)))
            .collect();
        let others = others.into_iter().map(|thread| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        std::iter::once(entries(first, body))
            .chain(others)
            .collect::<Result<Vec<_>, _>>()
    })?;
    Ok(entries.into_iter().flatten().collect())
}

/// What is in `frames`, in order.
fn entries<K, V>(frames: &[Frame<K>], body: &[u8]) -> Result<Vec<(K, Arc<V>)>, SnapshotError>
where
    K: DeserializeOwned,
    V: DeserializeOwned,
{
    let mut all = Vec::new();
    for frame in frames {
        let entries = frame.entries::<V>(body)?;
        all.extend(entries.into_iter().map(|(key, value)| (key, Arc::new(value))));
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
