//! Reads an archive and checks all of it: every part's checksum, the chain across parts, the digest of the whole, and
//! that the state is what the records fold to, from the first event or from the state that the archive begins with.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use chv_domain::{ClusterId, Projection, Record, RecordHash, Seq, Term, stored};
use sha2::{Digest, Sha256};

use super::ArchiveError;
use super::form::{self, HEAD, HEADER, Kind, MAGIC, Told};
use crate::history::format::{self, FormatError};
use crate::offline::Progress;
use crate::raft::snapshot_file::{self, SnapshotError};

/// What an archive holds; all of it was checked.
#[derive(Debug, Clone)]
pub struct Archive {
    /// The cluster.
    pub cluster: ClusterId,
    /// The first event.
    pub first: Seq,
    /// The term in which the last record was decided.
    pub term: Term,
    /// How many records.
    pub records: u64,
    /// The state after them.
    pub state: Projection,
    /// The state of the past that folding began with, where it did not begin with the first event.
    pub base: Option<Projection>,
    /// Whether the state was compared with what the records fold to.
    pub folded: bool,
}

/// Whether the file at `path` begins as an archive does.
pub fn is_archive(path: &Path) -> bool {
    let mut magic = [0; 8];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut magic))
        .is_ok_and(|()| magic == MAGIC)
}

/// Reads the archive at `path`. `each` is given its records in order, before the end of the file is checked: what it
/// makes of them counts only when this returns `Ok`. Blocks.
pub fn read(
    path: &Path,
    progress: &mut dyn FnMut(Progress),
    each: &mut dyn FnMut(&Record) -> Result<(), ArchiveError>,
) -> Result<Archive, ArchiveError> {
    if !is_archive(path) {
        // Also where there is no such file: that is told by its own error.
        File::open(path).map_err(ArchiveError::io(path))?;
        return Err(ArchiveError::NotOne(path.to_owned()));
    }
    Reading::open(path)?.all(progress, each)
}

struct Reading {
    path: PathBuf,
    file: BufReader<File>,
    size: u64,
    sha: Sha256,
    at: u64,
    cluster: ClusterId,
    first: Option<Seq>,
    last: Seq,
    hash: RecordHash,
    term: Term,
    records: u64,
    base: Option<Projection>,
    /// The fold, from the first event or the base on; `None` before the records come to that.
    fold: Option<Projection>,
    state: Option<Projection>,
}

impl Reading {
    fn open(path: &Path) -> Result<Self, ArchiveError> {
        let file = File::open(path).map_err(ArchiveError::io(path))?;
        let size = file.metadata().map_err(ArchiveError::io(path))?.len();
        let mut reading = Self {
            path: path.to_owned(),
            file: BufReader::new(file),
            size,
            sha: Sha256::new(),
            at: 0,
            cluster: ClusterId::from_bytes([0; 16]),
            first: None,
            last: Seq::ZERO,
            hash: RecordHash::ZERO,
            term: Term::default(),
            records: 0,
            base: None,
            fold: None,
            state: None,
        };
        let header: [u8; HEADER] = reading.array(0)?;
        reading.sha.update(header);
        reading.cluster = match form::read_header(&header) {
            Told::Cluster(cluster) => cluster,
            Told::Version(found) => {
                return Err(ArchiveError::Version {
                    path: path.to_owned(),
                    what: format!(
                        "the archive has version {found}, this program knows {}",
                        form::VERSION
                    ),
                });
            }
            Told::Damaged => return Err(reading.damaged(0, "the header does not check")),
        };
        Ok(reading)
    }

    fn all(
        mut self,
        progress: &mut dyn FnMut(Progress),
        each: &mut dyn FnMut(&Record) -> Result<(), ArchiveError>,
    ) -> Result<Archive, ArchiveError> {
        let total = self.size;
        loop {
            let at = self.at;
            progress(Progress { done: at, total });
            let head: [u8; HEAD] = self.array(at)?;
            let (kind, length, crc) = form::read_head(&head)
                .ok_or_else(|| self.damaged(at, "the head of a part does not check"))?;
            if length > self.size - self.at {
                return Err(self.damaged(at, "a part is cut off"));
            }
            let mut body = vec![0; length as usize];
            self.fill(&mut body, at)?;
            if crc32fast::hash(&body) != crc {
                return Err(self.damaged(at, "a part does not check"));
            }
            match kind {
                Kind::End => {
                    self.end(&body, at)?;
                    progress(Progress { done: total, total });
                    return self.archive(at);
                }
                Kind::Base => self.base(&body, at)?,
                Kind::State => self.state(&body, at)?,
                Kind::History => self.history(&body, at + HEAD as u64, each)?,
            }
            self.sha.update(head);
            self.sha.update(&body);
        }
    }

    fn history(
        &mut self,
        body: &[u8],
        at: u64,
        each: &mut dyn FnMut(&Record) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError> {
        let mut records = Vec::new();
        let layout = format::verify(body, |block| records.extend(block)).map_err(|error| match error {
            FormatError::Damaged { at: within, what } => self.damaged(at + within, &what),
            FormatError::Version(_) => ArchiveError::Version {
                path: self.path.clone(),
                what: error.to_string(),
            },
            other => self.damaged(at, &other.to_string()),
        })?;
        let follows = self.state.is_none()
            && layout.header.cluster == self.cluster
            && (self.first.is_none()
                || (layout.header.first, layout.header.prev) == (self.last.next(), self.hash));
        if !follows {
            return Err(self.damaged(at, "a part does not follow the one before it"));
        }
        if self.first.is_none() {
            self.first = Some(layout.header.first);
            let whole = layout.header.first == Seq(1) && layout.header.prev == RecordHash::ZERO;
            self.fold = whole.then(Projection::default);
            (self.last, self.hash) = (Seq(layout.header.first.0 - 1), layout.header.prev);
            self.begin_fold(at)?;
        }
        for record in records {
            if let Some(fold) = &mut self.fold {
                fold.replay(std::slice::from_ref(&record));
            }
            (self.last, self.hash, self.term) = (record.last(), record.hash(), record.term);
            self.records += 1;
            self.begin_fold(at)?;
            each(&record)?;
        }
        Ok(())
    }

    /// The state that the fold begins with: before any record.
    fn base(&mut self, body: &[u8], at: u64) -> Result<(), ArchiveError> {
        if self.first.is_some() || self.base.is_some() {
            return Err(self.damaged(at, "a state to begin with comes after records"));
        }
        let state = snapshot_file::parse(body).map_err(|error| match error {
            SnapshotError::Version(_) | SnapshotError::Stored(_) => ArchiveError::Version {
                path: self.path.clone(),
                what: format!("the state at byte {at}: {error}"),
            },
            error => self.damaged(at, &error.to_string()),
        })?;
        self.base = Some(state.projection);
        Ok(())
    }

    /// Begins the fold with the base once the records have come to it.
    fn begin_fold(&mut self, at: u64) -> Result<(), ArchiveError> {
        let Some(base) = self.base.as_ref().filter(|base| base.seq() == self.last) else {
            return Ok(());
        };
        if base.hash() != self.hash {
            return Err(self.damaged(at, "the state to begin with is not that of the records"));
        }
        self.fold = Some(base.clone());
        Ok(())
    }

    fn state(&mut self, body: &[u8], at: u64) -> Result<(), ArchiveError> {
        let raw = zstd::decode_all(body).map_err(|error| self.damaged(at, &error.to_string()))?;
        let state: Projection = stored::decode(&raw).map_err(|error| ArchiveError::Version {
            path: self.path.clone(),
            what: format!("the state at byte {at} does not decode: {error}"),
        })?;
        if (state.seq(), state.hash()) != (self.last, self.hash) {
            return Err(self.damaged(at, "the state is not that of the last record"));
        }
        // From the first event on, the outcomes of commands are all there.
        let fits = |fold: &Projection| {
            state.is_fold(fold) && (self.base.is_some() || fold.outcome_count() == state.outcome_count())
        };
        if self.fold.as_ref().is_some_and(|fold| !fits(fold)) {
            return Err(self.damaged(at, "the state is not what the records fold to"));
        }
        if self.base.is_some() && self.fold.is_none() {
            return Err(self.damaged(at, "the records don't come to the state to begin with"));
        }
        self.state = Some(state);
        Ok(())
    }

    fn end(&mut self, body: &[u8], at: u64) -> Result<(), ArchiveError> {
        let digest: [u8; 32] = self.sha.clone().finalize().into();
        if body != digest {
            return Err(self.damaged(at, "the SHA-256 of the whole archive does not match"));
        }
        match self.at == self.size {
            true => Ok(()),
            false => Err(self.damaged(self.at, "bytes follow the end")),
        }
    }

    fn archive(self, at: u64) -> Result<Archive, ArchiveError> {
        match (self.first, &self.state) {
            (Some(first), Some(state)) => Ok(Archive {
                cluster: self.cluster,
                first,
                term: self.term,
                records: self.records,
                state: state.clone(),
                folded: self.fold.is_some(),
                base: self.base.clone(),
            }),
            _ => Err(self.damaged(at, "it ends without records or without a state")),
        }
    }

    fn array<const N: usize>(&mut self, at: u64) -> Result<[u8; N], ArchiveError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, at)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8], at: u64) -> Result<(), ArchiveError> {
        match self.file.read_exact(bytes) {
            Ok(()) => {
                self.at += bytes.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(self.damaged(at, "the file is cut off"))
            }
            Err(source) => Err(ArchiveError::io(&self.path)(source)),
        }
    }

    fn damaged(&self, at: u64, what: &str) -> ArchiveError {
        ArchiveError::Damaged {
            path: self.path.clone(),
            at,
            seq: self.last.next(),
            what: what.to_owned(),
        }
    }
}

/// The cluster that the archive at `path` is of, by its header.
pub(super) fn cluster_of(path: &Path) -> Result<ClusterId, ArchiveError> {
    if !is_archive(path) {
        File::open(path).map_err(ArchiveError::io(path))?;
        return Err(ArchiveError::NotOne(path.to_owned()));
    }
    Reading::open(path).map(|reading| reading.cluster)
}
