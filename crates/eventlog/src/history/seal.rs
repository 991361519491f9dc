//! Moves applied records from the Raft log into sealed files.
//!
//! A file ends with the records of one log entry, so that what is sealed is told by entries too: those up to
//! [`Sealer::covered`] hold nothing that is not sealed. Nothing is remembered over a restart but the files
//! themselves: the log is walked from its beginning, and what follows the newest sealed record is what comes next.

use chv_domain::{RecordHash, Seq, Timestamp};
use openraft::EntryPayload;

use super::error::HistoryError;
use super::format::{Builder, Header};
use super::sealed::Sealed;
use super::store::History;
use crate::chain::Chain;
use crate::raft::log_storage::LogStorage;
use crate::raft::{Entry, RaftError};

/// How many bytes of the log are taken in at a time.
const PAGE: usize = 4 << 20;

/// When a file is full.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FileSize {
    /// With this many events.
    pub(crate) events: u64,
    /// With records of this many bytes, as stored.
    pub(crate) bytes: usize,
}

/// Sealing stopped, and is tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealError {
    /// The files.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The log.
    #[error("the log can't be read: {0}")]
    Log(#[from] RaftError),
}

/// Where sealing stands in the log.
pub(crate) struct Sealer {
    history: History,
    log: LogStorage,
    full: FileSize,
    /// The last entry that was looked at.
    entry: u64,
    /// Where the chain of records stands there, of those that are sealed or in `file`.
    chain: Chain,
    /// What is to become the next file.
    file: Option<Builder>,
    /// When its first record was decided.
    begun: Option<Timestamp>,
    /// Entries up to this one hold nothing that is not sealed.
    covered: u64,
}

impl Sealer {
    pub(crate) fn new(history: History, log: LogStorage, full: FileSize) -> Self {
        let mut sealer = Self {
            history,
            log,
            full,
            entry: 0,
            chain: Chain::at(Seq::ZERO, RecordHash::ZERO),
            file: None,
            begun: None,
            covered: 0,
        };
        sealer.begin_again();
        sealer
    }

    /// Entries up to this one hold nothing that is not sealed.
    pub(crate) fn covered(&self) -> u64 {
        self.covered
    }

    /// Takes in the entries up to `applied`, and seals what fills a file. Whether that is all there is up to `seq`: if
    /// not, the log begins after what is sealed, and what is between has to be fetched before more can be sealed.
    pub(crate) fn run(&mut self, applied: u64, seq: Seq) -> Result<bool, SealError> {
        let sealed = self.sealed();
        // Files were fetched meanwhile, or one was found to be damaged.
        if self.file.is_none() && sealed != self.chain.end() || sealed.0 > self.chain.end().0 {
            self.begin_again();
        }
        while self.entry < applied {
            // What is applied is on the disk.
            let page = self.log.at_hand(self.entry + 1, applied + 1, PAGE)?;
            if page.is_empty() {
                break;
            }
            for entry in &page {
                self.take(entry)?;
            }
            self.log.note_sealed(self.entry);
        }
        let complete = self.chain.end().0 >= seq;
        let asked = self.history.asked_to_seal();
        if !complete || self.sealed().0 < asked && asked <= self.chain.end().0 {
            self.close()?;
        }
        Ok(complete)
    }

    /// Where what is sealed ends.
    fn sealed(&self) -> (Seq, RecordHash) {
        let span = *self.history.span().borrow();
        span.map_or((Seq::ZERO, RecordHash::ZERO), |span| (span.newest, span.hash))
    }

    fn begin_again(&mut self) {
        let (seq, hash) = self.sealed();
        self.chain = Chain::at(seq, hash);
        (self.file, self.begun) = (None, None);
        self.entry = self.log.first_index().saturating_sub(1);
        self.covered = self.entry;
    }

    fn take(&mut self, entry: &Entry) -> Result<(), SealError> {
        let before = self.chain.end();
        let index = entry.log_id.index;
        let records = self.chain.applied(entry);
        if records.is_empty() {
            let old = match &entry.payload {
                EntryPayload::Normal(batch) => {
                    batch.records.last().is_none_or(|last| last.last() <= before.0)
                }
                EntryPayload::Blank | EntryPayload::Membership(_) => true,
            };
            if old && self.file.is_none() && self.covered + 1 >= index {
                self.covered = index;
            }
            self.entry = index;
            return Ok(());
        }
        let file = self.file.get_or_insert_with(|| {
            Builder::new(Header {
                cluster: self.history.cluster(),
                first: before.0.next(),
                prev: before.1,
            })
        });
        self.begun = self.begun.or(records.first().map(|record| record.time));
        for record in records {
            file.push(record)
                .expect("it was found to continue the chain, and it was decoded from what it encodes to");
        }
        self.entry = index;
        let events = file.end().0.0 - file.first().0 + 1;
        if events >= self.full.events || file.size() >= self.full.bytes {
            self.close()?;
        }
        Ok(())
    }

    /// Seals what was taken in when it begins with a record that is older than `time`.
    pub(crate) fn close_older(&mut self, time: Timestamp) -> Result<(), SealError> {
        if self.begun.is_some_and(|begun| begun < time) {
            self.close()?;
        }
        Ok(())
    }

    /// Seals what was taken in, however little.
    pub(crate) fn close(&mut self) -> Result<Option<Sealed>, SealError> {
        self.begun = None;
        let Some(bytes) = self.file.take().and_then(Builder::finish) else {
            return Ok(None);
        };
        match self.history.add(&bytes) {
            Ok(sealed) => {
                self.covered = self.entry;
                tracing::info!(first = %sealed.first, last = %sealed.last, bytes = sealed.size, "history was sealed");
                Ok(Some(sealed))
            }
            Err(error) => {
                self.begin_again();
                Err(error.into())
            }
        }
    }
}
