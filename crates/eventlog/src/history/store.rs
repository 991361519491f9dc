//! The sealed files of one directory: which there are, adding and removing files.
//!
//! Only what each file holds is kept in memory. Files may overlap, since replicas cut them at different places. Calls
//! block on the disk.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use chv_domain::{ClusterId, Seq};
use tokio::sync::watch;

use super::error::HistoryError;
use super::format::{FormatError, Layout, verify};
use super::reading::{read_layout, set_aside};
use super::sealed::{SUFFIX, Sealed, Span, file_name, span};
use crate::files::Dir;

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
        self.tell();
        // One that begins with the same event had the same name.
        self.remove(covered.iter().filter(|file| file.first != sealed.first))?;
        Ok(sealed)
    }

    /// Whether [`Self::trim`] would delete something.
    pub(crate) fn reaches_before(&self, oldest: Seq) -> bool {
        let files = self.lock();
        let older = files.len().saturating_sub(1);
        files[..older].iter().any(|file| file.last < oldest)
    }

    /// Deletes the files all of whose events are before `oldest`; never the newest, after which sealing goes on.
    pub(crate) fn trim(&self, oldest: Seq) -> Result<Vec<Sealed>, HistoryError> {
        let gone: Vec<Sealed> = {
            let mut files = self.shared.files.write().unwrap_or_else(PoisonError::into_inner);
            let older = files.len().saturating_sub(1);
            files.extract_if(..older, |file| file.last < oldest).collect()
        };
        if !gone.is_empty() {
            self.tell();
        }
        self.remove(gone.iter())?;
        Ok(gone)
    }

    /// Deletes files that are not told any more: all that can be. One that is left is listed again at the next opening.
    fn remove<'a>(&self, files: impl Iterator<Item = &'a Sealed>) -> Result<(), HistoryError> {
        let mut removed = Ok(());
        for path in files.map(|file| self.path(file)) {
            match std::fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    removed = removed.and(Err(HistoryError::Io { path, source }));
                }
                Ok(()) | Err(_) => {}
            }
        }
        removed
    }

    pub(super) fn forget(&self, sealed: &Sealed) {
        self.shared
            .files
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|file| file != sealed);
        self.tell();
    }

    pub(super) fn path(&self, sealed: &Sealed) -> PathBuf {
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
