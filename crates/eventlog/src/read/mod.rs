//! Reading events back. What is read is whole records, in order, a page at a time; where they are stored is known
//! to [`records`] alone.
//!
//! ```text
//! records   from one seq to another, upward
//! backward  the same, downward
//! search    what is wanted: of which resource, actor, command, time
//! find      the records that a search finds
//! span      the seqs that a search's times stand for
//! ```

mod backward;
mod find;
mod records;
mod search;
mod span;

use chv_domain::{Record, Seq, Timestamp};

use crate::index::IndexError;
use crate::log::EventLog;
pub use find::Found;
pub use records::Limit;
pub use search::Search;

/// Why events can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The log.
    #[error("the log can't be read: {0}")]
    Log(String),
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The events before that one are not kept any more, by any replica.
    #[error("events before {oldest} are not kept any more: begin with {oldest}")]
    Gone {
        /// The first event that is kept.
        oldest: Seq,
        /// When its record was decided.
        since: Timestamp,
    },
    /// The events before that one are kept, but not here: this replica was given a snapshot instead.
    #[error("this replica has events from {oldest} on; ask another one for those before")]
    Elsewhere {
        /// The first event that it has, or will have.
        oldest: Seq,
    },
    /// The index is being made again, or is behind.
    #[error("the index of events is not ready yet; ask again")]
    NotReady,
}

/// The events that a replica has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// The first; after `last` when there are none.
    pub oldest: Seq,
    /// The last one that is applied.
    pub last: Seq,
}

impl EventLog {
    /// The applied records with events from `from` on, in order; ends after `records` of them or about `bytes`,
    /// but never before one. Empty when there are none yet.
    pub async fn read(&self, from: Seq, records: usize, bytes: usize) -> Result<Vec<Record>, ReadError> {
        let oldest = self.projection().cluster().oldest_kept();
        if from < oldest {
            return Err(self.missing(oldest));
        }
        self.records(from, Seq(u64::MAX), Limit { records, bytes }).await
    }

    /// Which events can be read here.
    pub async fn kept(&self) -> Result<Kept, ReadError> {
        // First the end, so that a purge meanwhile leaves no hole between the two.
        let last = self.projection().seq();
        Ok(Kept {
            oldest: self.oldest().await?,
            last,
        })
    }
}
