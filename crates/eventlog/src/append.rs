//! Appending to the log: one entry, handed over in the order in which it was decided, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use chv_domain::{Batch, BatchOutcome, Projection};
use openraft::error::ClientWriteError;
use openraft::raft::ClientWriteResult;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::disks::NoDisk;
use crate::files::{Disk, DiskTrouble};
use crate::log::EventLog;
use crate::raft::TypeConfig;
use crate::segment::MAX_PAYLOAD;

/// How long an append may take to be committed and applied here.
const APPEND: Duration = Duration::from_secs(5);

/// The largest batch, in bytes as stored: an entry with some room for what is around the batch.
const MAX_BATCH: usize = MAX_PAYLOAD - (64 << 10);

/// Why a batch was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// This replica does not lead. Nothing was appended.
    #[error("this replica does not lead")]
    NotLeader,
    /// More than an entry may be. Nothing was appended.
    #[error(
        "a batch of {size} bytes is larger than an entry may be, {MAX_BATCH}; append fewer records at once"
    )]
    TooLarge {
        /// Its size, in bytes.
        size: usize,
    },
    /// Too few disks take it. Nothing was appended.
    #[error("too few disks take more of the log: {0}")]
    NoDisk(#[from] NoDisk),
    /// The disk can't be written any more; the batch may still be committed, or not.
    #[error("{0}; whether the batch will be committed is not known")]
    ReadOnly(DiskTrouble),
    /// It took too long; the batch may still be committed, or not.
    #[error("the batch was not committed within {} seconds; whether it will be is not known", APPEND.as_secs())]
    Timeout,
    /// The log can't go on.
    #[error("the log can't go on: {0}")]
    Fatal(String),
}

/// An entry that was handed to the log. Dropping it does not take the entry back.
pub struct Appending {
    answer: oneshot::Receiver<ClientWriteResult<TypeConfig>>,
    until: Instant,
    disk: Disk,
}

impl Appending {
    /// Resolves when the entry is on a majority's disk and applied here, or it is known that it won't be.
    pub async fn outcome(self) -> Result<BatchOutcome, AppendError> {
        let answer = tokio::select! {
            biased;
            answer = tokio::time::timeout_at(self.until, self.answer) => answer,
            trouble = self.disk.turned_read_only() => return Err(AppendError::ReadOnly(trouble)),
        };
        match answer {
            Ok(Ok(Ok(response))) => response
                .data
                .ok_or_else(|| AppendError::Fatal("a batch without an outcome".to_owned())),
            Ok(Ok(Err(ClientWriteError::ForwardToLeader(_)))) => Err(AppendError::NotLeader),
            Ok(Ok(Err(error))) => Err(AppendError::Fatal(error.to_string())),
            // Raft lets go of answers when it ends, and when another leader is elected.
            Ok(Err(_)) | Err(_) => Err(AppendError::Timeout),
        }
    }
}

impl EventLog {
    /// Appends one entry. Resolves when it is on a majority's disk and applied here. Dropping the future does
    /// not take it back.
    pub async fn append(&self, batch: Batch) -> Result<BatchOutcome, AppendError> {
        self.hand_over(batch, None).await?.outcome().await
    }

    /// Hands one entry to the log. Entries reach it in the order of these calls, when each is made after the one before
    /// has resolved, which is long before that entry is committed. `decided` is the state that the batch's records were
    /// folded into when they were decided.
    pub async fn begin_append(&self, batch: Batch, decided: Projection) -> Result<Appending, AppendError> {
        self.hand_over(batch, Some(decided)).await
    }

    async fn hand_over(&self, batch: Batch, decided: Option<Projection>) -> Result<Appending, AppendError> {
        let size = batch.stored_size();
        if size > MAX_BATCH {
            return Err(AppendError::TooLarge { size });
        }
        if !batch.makes_room() || self.inner.disk.writable().is_err() {
            self.disks()?;
        }
        self.inner.storage.stopwatch().begin(&batch);
        if let Some(decided) = decided {
            self.inner.foreseen.note(decided);
        }
        let until = Instant::now() + APPEND;
        let handed = self.inner.raft.client_write_ff(Arc::new(batch));
        match tokio::time::timeout_at(until, handed).await {
            Ok(Ok(answer)) => Ok(Appending {
                answer,
                until,
                disk: self.inner.disk.clone(),
            }),
            Ok(Err(error)) => Err(AppendError::Fatal(error.to_string())),
            Err(_) => Err(AppendError::Timeout),
        }
    }
}
