//! Writes an archive: aside first, flushed, then under its name, so that a file of that name is always whole.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use chv_domain::{ClusterId, Projection, Record, RecordHash, Seq, stored};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::form::{self, Kind};
use super::{ArchiveError, PART};
use crate::history::format::{Builder, Header};
use crate::raft::snapshot_file;

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Archived {
    /// The file.
    pub file: PathBuf,
    /// The cluster.
    pub cluster: ClusterId,
    /// The first event in it.
    pub first_seq: Seq,
    /// The last one.
    pub last_seq: Seq,
    /// The hash of its record.
    #[serde(serialize_with = "crate::offline::as_text")]
    pub last_hash: RecordHash,
    /// How many records.
    pub records: u64,
    /// The file's size, in bytes.
    pub bytes: u64,
}

/// An archive in the making. Dropped before [`Self::finish`], it leaves nothing behind.
#[derive(Debug)]
pub struct ArchiveWriter {
    path: PathBuf,
    aside: PathBuf,
    file: BufWriter<File>,
    sha: Sha256,
    cluster: ClusterId,
    part: Option<Builder>,
    /// Whether it begins with a state.
    based: bool,
    first: Option<Seq>,
    last: Seq,
    hash: RecordHash,
    records: u64,
    bytes: u64,
    finished: bool,
}

impl ArchiveWriter {
    /// Begins the archive of `cluster` at `path`; only its owner may read it. What is there is replaced at the end.
    pub fn create(path: &Path, cluster: ClusterId) -> Result<Self, ArchiveError> {
        let mut name = path.as_os_str().to_owned();
        name.push(".part");
        let aside = PathBuf::from(name);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&aside)
            .map_err(ArchiveError::io(&aside))?;
        let mut writer = Self {
            path: path.to_owned(),
            aside,
            file: BufWriter::new(file),
            sha: Sha256::new(),
            cluster,
            part: None,
            based: false,
            first: None,
            last: Seq::ZERO,
            hash: RecordHash::ZERO,
            records: 0,
            bytes: 0,
            finished: false,
        };
        writer.write(&form::header(cluster))?;
        Ok(writer)
    }

    /// Takes the state that folding begins with, as a checkpoint's bytes; before any record. Its event is that before the
    /// first record, or one of the first records.
    ///
    /// # Errors
    /// When it is no checkpoint, or comes too late.
    pub fn base(&mut self, checkpoint: &[u8]) -> Result<Projection, ArchiveError> {
        let state =
            snapshot_file::parse(checkpoint).map_err(|error| ArchiveError::Base(error.to_string()))?;
        if self.first.is_some() || self.based {
            return Err(ArchiveError::Base("it comes after records".to_owned()));
        }
        self.based = true;
        self.part(Kind::Base, checkpoint)?;
        Ok(state.projection)
    }

    /// The last event that was taken.
    pub fn last(&self) -> Seq {
        self.last
    }

    /// Takes the next record; the first one may be any.
    pub fn push(&mut self, record: &Record) -> Result<(), ArchiveError> {
        let broken = |found, last| ArchiveError::Chain { found, last };
        if self.first.is_some() && (record.first != self.last.next() || record.prev != self.hash) {
            return Err(broken(record.first, self.last));
        }
        let header = Header {
            cluster: self.cluster,
            first: record.first,
            prev: record.prev,
        };
        let part = self.part.get_or_insert_with(|| Builder::new(header));
        part.push(record).map_err(|_| broken(record.first, self.last))?;
        let full = part.size() >= PART;
        self.first.get_or_insert(record.first);
        (self.last, self.hash) = (record.last(), record.hash());
        self.records += 1;
        if full { self.close_part() } else { Ok(()) }
    }

    /// Ends the archive with the state after the last record, and gives it its name.
    pub fn finish(mut self, state: &Projection) -> Result<Archived, ArchiveError> {
        let first = self.first.ok_or(ArchiveError::Empty)?;
        if (state.seq(), state.hash()) != (self.last, self.hash) {
            return Err(ArchiveError::State {
                state: state.seq(),
                last: self.last,
            });
        }
        self.close_part()?;
        let failed = |error: std::io::Error| ArchiveError::io(&self.aside)(error);
        let raw = stored::encode(state).map_err(|error| failed(std::io::Error::other(error)))?;
        let body = zstd::encode_all(raw.as_slice(), 3).map_err(failed)?;
        self.part(Kind::State, &body)?;
        let digest: [u8; 32] = self.sha.clone().finalize().into();
        self.part(Kind::End, &digest)?;
        let mut named = || {
            self.file.flush()?;
            self.file.get_ref().sync_all()?;
            std::fs::rename(&self.aside, &self.path)?;
            let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
        };
        named().map_err(ArchiveError::io(&self.path))?;
        self.finished = true;
        Ok(Archived {
            file: self.path.clone(),
            cluster: self.cluster,
            first_seq: first,
            last_seq: self.last,
            last_hash: self.hash,
            records: self.records,
            bytes: self.bytes,
        })
    }

    fn close_part(&mut self) -> Result<(), ArchiveError> {
        match self.part.take().and_then(Builder::finish) {
            Some(body) => self.part(Kind::History, &body),
            None => Ok(()),
        }
    }

    fn part(&mut self, kind: Kind, body: &[u8]) -> Result<(), ArchiveError> {
        self.write(&form::head(kind, body))?;
        self.write(body)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.sha.update(bytes);
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes).map_err(ArchiveError::io(&self.aside))
    }
}

impl Drop for ArchiveWriter {
    fn drop(&mut self) {
        if !self.finished {
            // A part file that stays is in nobody's way.
            let _ = std::fs::remove_file(&self.aside);
        }
    }
}
