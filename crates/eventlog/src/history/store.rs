//! The sealed files of one directory: which there are, reading records out of them, adding and removing files.
//!
//! Only what each file holds is kept in memory; a file is opened for each read and closed again, so their number
//! costs no descriptors. Files may overlap, since replicas cut them at different places. Calls block on the disk.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use chv_domain::{ClusterId, Projection, Record, RecordHash, Seq, Timestamp};
use tokio::sync::watch;

use super::checkpoint;
use super::format::{FormatError, Layout, verify};
use crate::files::Dir;

const SUFFIX: &str = ".history";

/// Why history can't be read or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HistoryError {
    /// A file in it.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file is not what was written.
    #[error("{path}: {source}; it is set aside, and fetched from another replica if one has it")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What, and where.
        source: FormatError,
    },
    /// A file of another cluster.
    #[error("{path}: it belongs to cluster {found}, not to {expected}; move it away")]
    OtherCluster {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: ClusterId,
        /// Whose the directory is.
        expected: ClusterId,
    },
}

/// What one sealed file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// The first event.
    pub(crate) first: Seq,
    /// The hash of the record before it.
    pub(crate) prev: RecordHash,
    /// The last event.
    pub(crate) last: Seq,
    /// The hash of the last record.
    pub(crate) hash: RecordHash,
    /// The time of the first record.
    pub(crate) from: Timestamp,
    /// The time of the last record.
    pub(crate) to: Timestamp,
    /// Bytes of the file.
    pub(crate) size: u64,
    /// SHA-256 of its content.
    pub(crate) digest: [u8; 32],
}

impl Sealed {
    fn of(layout: &Layout) -> Self {
        let (from, to) = layout.footer.times();
        Self {
            first: layout.header.first,
            prev: layout.header.prev,
            last: layout.footer.last,
            hash: layout.footer.hash,
            from,
            to,
            size: layout.size,
            digest: layout.digest,
        }
    }

    /// The name of its file.
    pub(crate) fn file_name(&self) -> String {
        file_name(self.first)
    }
}

fn file_name(first: Seq) -> String {
    format!("{:020}{SUFFIX}", first.0)
}

/// The events that sealed files hold without a hole, up to the newest that is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// The first event.
    pub(crate) oldest: Seq,
    /// The hash of the record before it.
    pub(crate) prev: RecordHash,
    /// The last event.
    pub(crate) newest: Seq,
    /// The hash of its record.
    pub(crate) hash: RecordHash,
}

/// The sealed files of a replica. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub(crate) struct History {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    dir: Dir,
    cluster: ClusterId,
    /// In order of their first events; none lies within another.
    files: RwLock<Vec<Sealed>>,
    span: watch::Sender<Option<Span>>,
    /// Somebody wants the events up to this one sealed.
    asked: AtomicU64,
}

impl History {
    /// Opens the files in `dir`. One whose ends do not check is set aside, with a warning.
    pub(crate) fn open(dir: &Path, cluster: ClusterId) -> Result<Self, HistoryError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| HistoryError::Io { path, source }
        };
        let opened = Dir::open(dir).map_err(at(dir))?;
        let mut files = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(at(dir))? {
            let path = entry.map_err(at(dir))?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            if name.ends_with(".new") {
                std::fs::remove_file(&path).map_err(at(&path))?;
            }
            if !name.ends_with(SUFFIX) {
                continue;
            }
            match read_layout(&path) {
                Ok(layout) if layout.header.cluster != cluster => {
                    return Err(HistoryError::OtherCluster {
                        path,
                        found: layout.header.cluster,
                        expected: cluster,
                    });
                }
                Ok(layout) if name == file_name(layout.header.first) => files.push(Sealed::of(&layout)),
                Ok(_) => {
                    tracing::warn!(path = %path.display(), "a sealed file has another's name; it is not used")
                }
                Err(
                    error @ HistoryError::Damaged {
                        source: FormatError::Version(_),
                        ..
                    },
                ) => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "a sealed file does not open");
                    set_aside(&path).map_err(at(&path))?;
                }
            }
        }
        files.sort_unstable_by_key(|file| (file.first, file.last));
        let history = Self {
            shared: Arc::new(Shared {
                dir: opened,
                cluster,
                files: RwLock::new(files),
                span: watch::Sender::new(None),
                asked: AtomicU64::new(0),
            }),
        };
        history.tell();
        Ok(history)
    }

    /// The cluster whose records they are.
    pub(crate) fn cluster(&self) -> ClusterId {
        self.shared.cluster
    }

    /// The events up to the newest sealed one that there are without a hole; told anew when files come or go.
    pub(crate) fn span(&self) -> watch::Receiver<Option<Span>> {
        self.shared.span.subscribe()
    }

    /// Asks for the events up to `seq` to be sealed before they fill a file.
    pub(crate) fn ask_to_seal(&self, seq: Seq) {
        self.shared.asked.fetch_max(seq.0, Ordering::Relaxed);
    }

    /// Up to which event sealing was asked for.
    pub(crate) fn asked_to_seal(&self) -> Seq {
        Seq(self.shared.asked.load(Ordering::Relaxed))
    }

    /// All files, in order of their first events.
    pub(crate) fn files(&self) -> Vec<Sealed> {
        self.lock().clone()
    }

    /// The file that holds the event `seq`.
    pub(crate) fn file_of(&self, seq: Seq) -> Option<Sealed> {
        let files = self.lock();
        let after = files.partition_point(|file| file.first <= seq);
        files[..after].last().filter(|file| seq <= file.last).cloned()
    }

    /// Opens the file of `sealed`.
    pub(crate) fn open_file(&self, sealed: &Sealed) -> Result<File, HistoryError> {
        let path = self.path(sealed);
        File::open(&path).map_err(|source| HistoryError::Io { path, source })
    }

    /// The sealed records with events from `from` on, in order, ending before a hole and after `records` of them
    /// or about `bytes`, but never before one. Empty when `from` is not sealed.
    pub(crate) fn records(
        &self,
        from: Seq,
        records: usize,
        bytes: usize,
    ) -> Result<Vec<Record>, HistoryError> {
        let (mut found, mut size, mut next) = (Vec::new(), 0, from.max(Seq(1)));
        while found.len() < records && size < bytes {
            let Some((block, average)) = self.block(next)? else {
                break;
            };
            for record in block.into_iter().filter(|record| record.last() >= next) {
                if found.len() >= records || (size >= bytes && !found.is_empty()) {
                    return Ok(found);
                }
                size += average;
                found.push(record);
            }
            next = found.last().map_or(next, |record| record.last().next());
        }
        Ok(found)
    }

    /// As [`Self::records`], backward: the record with `from` first, and then those before it.
    #[allow(
        dead_code,
        reason = "for readers that go backward without an index; see docs/status.md"
    )]
    pub(crate) fn records_back(
        &self,
        from: Seq,
        records: usize,
        bytes: usize,
    ) -> Result<Vec<Record>, HistoryError> {
        let (mut found, mut size, mut next) = (Vec::<Record>::new(), 0, from);
        while found.len() < records && size < bytes && next > Seq::ZERO {
            let Some((block, average)) = self.block(next)? else {
                break;
            };
            for record in block.into_iter().rev().filter(|record| record.first <= next) {
                if found.len() >= records || (size >= bytes && !found.is_empty()) {
                    return Ok(found);
                }
                size += average;
                found.push(record);
            }
            next = found.last().map_or(next, |record| Seq(record.first.0 - 1));
        }
        Ok(found)
    }

    /// An event at or before the first one that was recorded at `time` or later, and close to it: where to begin
    /// to look. `None` when all that is sealed is older, or there is none.
    #[allow(
        dead_code,
        reason = "for readers by time without an index; see docs/status.md"
    )]
    pub(crate) fn before(&self, time: Timestamp) -> Result<Option<Seq>, HistoryError> {
        let file = {
            let files = self.lock();
            let at = files.partition_point(|file| file.to < time);
            files.get(at).cloned()
        };
        let Some(file) = file else { return Ok(None) };
        let layout = read_layout(&self.path(&file))?;
        let blocks = &layout.footer.blocks;
        let at = blocks.partition_point(|block| block.to < time);
        Ok(blocks.get(at).map(|block| block.first))
    }

    /// The state with the most events up to `seq` that is kept: without the outcomes of commands, and without how far
    /// events were published. `None`: fold from the first event.
    pub(crate) fn checkpoint(&self, seq: Seq) -> io::Result<Option<Projection>> {
        checkpoint::at_or_before(self, seq)
    }

    /// The records of the block that holds `seq`, checked, and about how large each is.
    fn block(&self, seq: Seq) -> Result<Option<(Vec<Record>, usize)>, HistoryError> {
        let Some(sealed) = self.file_of(seq) else {
            return Ok(None);
        };
        let path = self.path(&sealed);
        let read = || {
            let file = File::open(&path)?;
            Ok::<_, io::Error>(Layout::read(&file).and_then(|layout| {
                let Some(index) = layout.footer.block_of(seq) else {
                    return Ok(None);
                };
                let info = layout.footer.blocks[index];
                let average = info.raw as usize / info.records.max(1) as usize;
                Ok(Some((layout.verified(&file, index)?, average)))
            }))
        };
        match read() {
            Ok(Ok(block)) => Ok(block),
            // Trimmed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.forget(&sealed);
                Ok(None)
            }
            Ok(Err(FormatError::Io { why, .. })) => Err(HistoryError::Io {
                path,
                source: io::Error::other(why),
            }),
            Err(source) => Err(HistoryError::Io { path, source }),
            Ok(Err(source)) => {
                let aside = set_aside(&path);
                self.forget(&sealed);
                aside.map_err(|source| HistoryError::Io {
                    path: path.clone(),
                    source,
                })?;
                let error = HistoryError::Damaged { path, source };
                tracing::error!(%error, "a sealed file is damaged");
                Err(error)
            }
        }
    }

    /// Writes a file that a builder finished, and makes it last.
    pub(crate) fn add(&self, bytes: &[u8]) -> Result<Sealed, HistoryError> {
        let aside = self.shared.dir.path().join("sealing.new");
        let written = || {
            let mut file = File::create(&aside)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        written().map_err(|source| HistoryError::Io {
            path: aside.clone(),
            source,
        })?;
        let layout = Layout::read(bytes).map_err(|source| HistoryError::Damaged {
            path: aside.clone(),
            source,
        })?;
        self.name(&aside, &layout)
    }

    /// Takes over the file at `aside`, in the directory of history and flushed, after reading all of it.
    pub(crate) fn take_over(&self, aside: &Path) -> Result<Sealed, HistoryError> {
        let io = |source| HistoryError::Io {
            path: aside.to_owned(),
            source,
        };
        let file = File::open(aside).map_err(io)?;
        let layout = verify(&file, |_| {}).map_err(|source| HistoryError::Damaged {
            path: aside.to_owned(),
            source,
        })?;
        self.name(aside, &layout)
    }

    fn name(&self, aside: &Path, layout: &Layout) -> Result<Sealed, HistoryError> {
        let sealed = Sealed::of(layout);
        if layout.header.cluster != self.shared.cluster {
            return Err(HistoryError::OtherCluster {
                path: aside.to_owned(),
                found: layout.header.cluster,
                expected: self.shared.cluster,
            });
        }
        let path = self.path(&sealed);
        std::fs::rename(aside, &path)
            .and_then(|()| self.shared.dir.sync())
            .map_err(|source| HistoryError::Io {
                path: path.clone(),
                source,
            })?;
        let covered = {
            let mut files = self.shared.files.write().unwrap_or_else(PoisonError::into_inner);
            let within = |file: &Sealed| sealed.first <= file.first && file.last <= sealed.last;
            let covered: Vec<Sealed> = files.extract_if(.., |file| within(file)).collect();
            let at = files.partition_point(|file| file.first < sealed.first);
            files.insert(at, sealed.clone());
            covered
        };
        for file in covered.iter().filter(|file| file.first != sealed.first) {
            self.remove(file)?;
        }
        self.tell();
        Ok(sealed)
    }

    /// Deletes the files all of whose events are before `oldest`.
    #[allow(dead_code, reason = "for retention; see docs/status.md")]
    pub(crate) fn trim(&self, oldest: Seq) -> Result<Vec<Sealed>, HistoryError> {
        let gone: Vec<Sealed> = {
            let mut files = self.shared.files.write().unwrap_or_else(PoisonError::into_inner);
            files.extract_if(.., |file| file.last < oldest).collect()
        };
        for file in &gone {
            self.remove(file)?;
        }
        if !gone.is_empty() {
            self.tell();
        }
        Ok(gone)
    }

    fn remove(&self, file: &Sealed) -> Result<(), HistoryError> {
        let path = self.path(file);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(HistoryError::Io { path, source: error })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn forget(&self, sealed: &Sealed) {
        self.shared
            .files
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|file| file != sealed);
        self.tell();
    }

    fn path(&self, sealed: &Sealed) -> PathBuf {
        self.shared.dir.path().join(sealed.file_name())
    }

    /// The directory.
    pub(crate) fn dir(&self) -> &Path {
        self.shared.dir.path()
    }

    fn tell(&self) {
        let now = span(&self.lock());
        self.shared
            .span
            .send_if_modified(|known| std::mem::replace(known, now) != now);
    }

    fn lock(&self) -> RwLockReadGuard<'_, Vec<Sealed>> {
        self.shared.files.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last run of `files` without a hole, which may overlap.
fn span(files: &[Sealed]) -> Option<Span> {
    let last = files.last()?;
    let mut span = Span {
        oldest: last.first,
        prev: last.prev,
        newest: last.last,
        hash: last.hash,
    };
    for file in files.iter().rev().skip(1) {
        // Files that touch have to agree; where they overlap, reading the later one checks it.
        let touches = file.last.next() == span.oldest && file.hash == span.prev || file.last >= span.oldest;
        if !touches {
            break;
        }
        (span.oldest, span.prev) = (file.first, file.prev);
    }
    Some(span)
}

fn read_layout(path: &Path) -> Result<Layout, HistoryError> {
    let file = File::open(path).map_err(|source| HistoryError::Io {
        path: path.to_owned(),
        source,
    })?;
    Layout::read(&file).map_err(|source| HistoryError::Damaged {
        path: path.to_owned(),
        source,
    })
}

/// Gives a damaged file another name, under which nobody looks, so that a person still can.
fn set_aside(path: &Path) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".damaged");
    std::fs::rename(path, name)
}
