//! Reading events back: in order from any seq, or those that a query finds ([`find`]). Where they are stored is
//! [`records`]' business.

mod find;
mod records;

use chv_domain::{Record, Seq};

use crate::index::IndexError;
use crate::log::EventLog;
use records::Limit;

/// Why events can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The log.
    #[error("the log can't be read: {0}")]
    Log(String),
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The events from there on are not in this replica's log any more, or never were: it was given a snapshot.
    #[error("this replica's log begins with event {oldest}; read from there on, or ask another replica")]
    Gone {
        /// The first event that it has, or will have.
        oldest: Seq,
    },
    /// The index is being made again, or is behind.
    #[error("the index of events is not ready yet; ask again")]
    NotReady,
}

impl EventLog {
    /// The applied records with events from `from` on, in order; ends after `records` of them or about `bytes`,
    /// but never before one. Empty when there are none yet.
    pub async fn read(&self, from: Seq, records: usize, bytes: usize) -> Result<Vec<Record>, ReadError> {
        self.records(from, Seq(u64::MAX), Limit { records, bytes }).await
    }
}
