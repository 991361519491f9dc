//! Where records are found: by number, by what they are about, by author, by command. In sled, and nowhere
//! else is sled used.
//!
//! All of it can be made again from the log, so nothing here is flushed or trusted: the index carries how far it
//! goes and what the log held there, and one that disagrees with the log, or does not open, is dropped and
//! rebuilt.

mod follow;

use std::path::{Path, PathBuf};

use chv_domain::{Actor, CommandId, Record, RecordHash, Resource, Seq, stored};
use serde::{Deserialize, Serialize};

pub(crate) use follow::{Chain, Reached, follow};

/// Which records are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// With an event about this.
    Resource(Resource),
    /// By this author.
    Actor(Actor),
    /// Of this command.
    Command(CommandId),
}

/// How far the index goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// The last log entry that is in it.
    pub(crate) entry: u64,
    /// The last event that is in it.
    pub(crate) seq: Seq,
    /// The hash of the record with that event.
    pub(crate) hash: RecordHash,
}

/// The index can't be used.
#[derive(Debug, thiserror::Error)]
#[error("the index in {path} can't be used: {why}")]
pub struct IndexError {
    path: PathBuf,
    why: String,
}

const MARK: &[u8] = b"mark";

/// The index. Its calls block on the disk.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    path: PathBuf,
    /// A record's first seq -> the log entry that holds it.
    entries: sled::Tree,
    /// What a record is found by, then its first seq -> nothing.
    found_by: sled::Tree,
    marks: sled::Tree,
}

impl Index {
    /// Opens the index, or begins an empty one where there is none, or none that opens.
    pub(crate) fn open(path: &Path) -> Result<Self, IndexError> {
        Self::try_open(path).or_else(|error| {
            tracing::warn!(%error, "the index is dropped and made again from the log");
            Self::anew(path)
        })
    }

    /// Drops what is there and begins an empty one.
    pub(crate) fn anew(path: &Path) -> Result<Self, IndexError> {
        match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(IndexError {
                    path: path.to_owned(),
                    why: error.to_string(),
                });
            }
            Ok(()) | Err(_) => {}
        }
        Self::try_open(path)
    }

    fn try_open(path: &Path) -> Result<Self, IndexError> {
        let failed = |error: sled::Error| IndexError {
            path: path.to_owned(),
            why: error.to_string(),
        };
        // sled can panic on a damaged directory instead of saying so.
        let opened = std::panic::catch_unwind(|| {
            let config = sled::Config::new()
                .path(path)
                .cache_capacity(64 << 20)
                .flush_every_ms(Some(1000));
            let db = config.open()?;
            Ok((
                db.open_tree("entries")?,
                db.open_tree("found-by")?,
                db.open_tree("marks")?,
            ))
        });
        match opened {
            Ok(Ok((entries, found_by, marks))) => Ok(Self {
                path: path.to_owned(),
                entries,
                found_by,
                marks,
            }),
            Ok(Err(error)) => Err(failed(error)),
            Err(_) => Err(IndexError {
                path: path.to_owned(),
                why: "it is damaged".to_owned(),
            }),
        }
    }

    fn failed(&self, error: sled::Error) -> IndexError {
        IndexError {
            path: self.path.clone(),
            why: error.to_string(),
        }
    }

    /// How far it goes.
    pub(crate) fn mark(&self) -> Result<Mark, IndexError> {
        match self.marks.get(MARK).map_err(|error| self.failed(error))? {
            None => Ok(Mark::default()),
            Some(bytes) => stored::decode(&bytes).map_err(|error| IndexError {
                path: self.path.clone(),
                why: error.to_string(),
            }),
        }
    }

    /// Takes the records of log entries in, and notes how far it goes now. Doing it again changes nothing.
    pub(crate) fn add(&self, records: &[(u64, &Record)], mark: Mark) -> Result<(), IndexError> {
        let (mut entries, mut found_by) = (sled::Batch::default(), sled::Batch::default());
        for (entry, record) in records {
            entries.insert(&record.first.0.to_be_bytes(), &entry.to_be_bytes());
            for prefix in prefixes(record) {
                found_by.insert(key(&prefix, record.first), &[]);
            }
        }
        let mark = stored::encode(&mark).map_err(|error| IndexError {
            path: self.path.clone(),
            why: error.to_string(),
        })?;
        let add = || {
            self.entries.apply_batch(entries)?;
            self.found_by.apply_batch(found_by)?;
            // Last, so that an index that was cut short is behind its mark by nothing.
            self.marks.insert(MARK, mark)?;
            Ok(())
        };
        add().map_err(|error| self.failed(error))
    }

    /// The log entry at which to begin to look for the record with the event `seq`: it holds that record or an
    /// earlier one.
    pub(crate) fn entry_at_or_before(&self, seq: Seq) -> Result<Option<u64>, IndexError> {
        let found = self.entries.range(..=seq.0.to_be_bytes()).next_back().transpose();
        Ok(found
            .map_err(|error| self.failed(error))?
            .and_then(|(_, entry)| number(&entry)))
    }

    /// The entries and first events of at most `limit` records that `query` finds and that end at `from` or
    /// later. The caller drops the one before `from` that may come first.
    pub(crate) fn find(&self, query: &Query, from: Seq, limit: usize) -> Result<Vec<(u64, Seq)>, IndexError> {
        let prefix = prefix(query);
        let mut found = Vec::new();
        // A record that begins before `from` may reach past it.
        let earlier = self
            .found_by
            .range(key(&prefix, Seq::ZERO)..key(&prefix, from))
            .next_back();
        let later = self
            .found_by
            .range(key(&prefix, from)..=key(&prefix, Seq(u64::MAX)))
            .take(limit);
        for hit in earlier.into_iter().chain(later) {
            let (key, _) = hit.map_err(|error| self.failed(error))?;
            let Some(first) = key.len().checked_sub(8).and_then(|at| number(&key[at..])) else {
                continue;
            };
            let entry = self
                .entries
                .get(first.to_be_bytes())
                .map_err(|error| self.failed(error))?;
            found.extend(
                entry
                    .and_then(|entry| number(&entry))
                    .map(|entry| (entry, Seq(first))),
            );
        }
        Ok(found)
    }
}

fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

fn key(prefix: &[u8], seq: Seq) -> Vec<u8> {
    [prefix, &seq.0.to_be_bytes()].concat()
}

fn prefix(query: &Query) -> Vec<u8> {
    match query {
        Query::Resource(Resource::Vm(vm)) => [b"v".as_slice(), &vm.to_bytes()].concat(),
        Query::Resource(Resource::Host(host)) => [b"h".as_slice(), &host.to_bytes()].concat(),
        Query::Resource(Resource::Cluster) => b"l".to_vec(),
        // A NUL ends the name, which has none: so no name's keys are another's.
        Query::Actor(actor) => [b"a".as_slice(), actor.to_string().as_bytes(), b"\0"].concat(),
        Query::Command(command) => [b"c".as_slice(), &command.to_bytes()].concat(),
    }
}

fn prefixes(record: &Record) -> impl Iterator<Item = Vec<u8>> + '_ {
    let about = record
        .events
        .iter()
        .map(|event| prefix(&Query::Resource(event.resource())));
    let who = prefix(&Query::Actor(record.actor.clone()));
    let why = prefix(&Query::Command(record.cause.command));
    about.chain([who, why])
}
