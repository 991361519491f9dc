//! The state of the past: the projection as it was after any event or at any time. The nearest known state before
//! it, and the records from there on folded in.
//!
//! [`known`] has the states that are kept in memory for that.

mod known;

use chv_domain::{Projection, Record, Seq, Timestamp};

use crate::history::checkpoint::{self, CheckpointPiece};
use crate::log::EventLog;
use crate::read::{Kept, Limit, ReadError};
pub(crate) use known::Known;

/// How many records are read and folded at a time.
const PAGE: Limit = Limit {
    records: 2048,
    bytes: usize::MAX,
};

/// Over so many events a state is rather read from the disk than folded from the nearest that is in memory.
const FAR: u64 = 4096;

/// So many events after a state on the disk are read beside it, at most: more than lie between two such states, and no
/// more than fits into memory.
const BESIDE: u64 = 32 << 10;

/// Why a state of the past can't be had.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    /// It has not happened yet.
    #[error("event {wanted} has not happened yet: the last one is {last}")]
    PastTheEnd {
        /// The event asked for.
        wanted: Seq,
        /// The last event here.
        last: Seq,
    },
    /// The events that lead to it can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The events are here, and no state to begin with.
    #[error("this replica came later and has no state to begin with before event {wanted}; ask another one")]
    Elsewhere {
        /// The event asked for.
        wanted: Seq,
    },
    /// Too many ask at once.
    #[error("too many states of the past are asked for at once; ask again")]
    Busy,
}

impl EventLog {
    /// The state after the record that holds the event `seq`: what commands decide together happens together.
    /// [`Seq::ZERO`] is before the first event. Only [`Projection::published`] and the outcomes of commands are not
    /// what they were then.
    pub async fn projection_at(&self, seq: Seq) -> Result<Projection, PastError> {
        let now = self.projection();
        if now.seq() == seq {
            return Ok(now);
        }
        let kept = self.kept().await?;
        match seq {
            Seq::ZERO => Ok(Projection::default()),
            seq if seq > kept.last => Err(PastError::PastTheEnd {
                wanted: seq,
                last: kept.last,
            }),
            seq if seq < kept.oldest => Err(self.missing(kept.oldest).into()),
            seq => self.folded(seq, kept).await,
        }
    }

    /// The state at `time`: after the last record that is not later.
    pub async fn projection_at_time(&self, time: Timestamp) -> Result<Projection, PastError> {
        let kept = self.kept().await?;
        let later = Timestamp(time.0.saturating_add(1));
        let first = self.first_since(later, kept).await?;
        // What was at that time may be gone.
        if first <= kept.oldest && kept.oldest > Seq(1) {
            return Err(self.missing(kept.oldest).into());
        }
        self.projection_at(Seq(first.0.saturating_sub(1))).await
    }

    /// A part of the state before the first kept event, as a checkpoint's file: from `offset` on, where that is the file with
    /// this digest, otherwise from the beginning. `None` where it is not here; where all is kept there is none.
    pub async fn base(
        &self,
        digest: Vec<u8>,
        offset: u64,
        room: u64,
    ) -> Result<Option<CheckpointPiece>, ReadError> {
        let base = Seq(self.projection().cluster().oldest_kept().0 - 1);
        let history = self.inner.history.clone();
        blocking(move || checkpoint::piece(&history, base, &digest, offset, room)).await
    }

    async fn folded(&self, seq: Seq, kept: Kept) -> Result<Projection, PastError> {
        let known = &self.inner.past;
        let _turn = known.turn().await.ok_or(PastError::Busy)?;
        let mut state = known.before(seq);
        // What is forgotten is not folded any more: there is a state on the disk after it.
        if (seq.0 - state.seq().0 > FAR || state.seq().next() < kept.oldest)
            && let Some(kept) = self.beside_checkpoint(state.seq(), seq).await?
        {
            state = kept;
        }
        let next = state.seq().next();
        if next < kept.oldest && self.inner.history.file_of(next).is_none() {
            return Err(PastError::Elsewhere { wanted: seq });
        }
        while state.seq() < seq {
            let records = self.records(state.seq().next(), seq, PAGE).await?;
            if records.is_empty() {
                let here = state.seq();
                return Err(ReadError::Log(format!("there are no records after {here} up to {seq}")).into());
            }
            state = fold(state, vec![records]).await?;
            known.passed(&state);
        }
        known.asked(&state);
        Ok(state)
    }

    /// The newest state on the disk after `after` and up to `seq`, with what comes then folded in as far as it was read
    /// beside it: the state, and the records in parts, each take a processor.
    async fn beside_checkpoint(&self, after: Seq, seq: Seq) -> Result<Option<Projection>, ReadError> {
        loop {
            let history = self.inner.history.clone();
            let Some(at) = blocking(move || history.newest_checkpoint(seq))
                .await?
                .filter(|at| *at > after)
            else {
                return Ok(None);
            };
            let history = self.inner.history.clone();
            let state = blocking(move || history.read_checkpoint(at));
            let end = Seq(seq.0.min(at.0 + BESIDE));
            let half = Seq(at.0 + (end.0 - at.0) / 2);
            let (state, first, second) =
                tokio::try_join!(state, self.all(at.next(), half), self.all(half.next(), end))?;
            // One that does not read is gone now, and an older one is there perhaps.
            let Some(state) = state else { continue };
            // The record that holds the event between the parts may be in both.
            let last = first.last().map_or(at, |record| record.last());
            let second = second.into_iter().filter(|record| record.first > last).collect();
            return fold(state, vec![first, second]).await.map(Some);
        }
    }

    /// All applied records from the one that holds `from` to the one that holds `upto`.
    async fn all(&self, from: Seq, upto: Seq) -> Result<Vec<Record>, ReadError> {
        let mut all: Vec<Record> = Vec::new();
        let mut next = from;
        while next <= upto {
            let page = self.records(next, upto, PAGE).await?;
            let Some(last) = page.last() else { break };
            next = last.last().next();
            all.extend(page);
        }
        Ok(all)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, ReadError> {
    let done = tokio::task::spawn_blocking(work).await;
    let failed = |error: &dyn std::fmt::Display| ReadError::Log(error.to_string());
    done.map_err(|error| failed(&error))?
        .map_err(|error| failed(&error))
}

/// `state` with `parts` folded in, one after the other. It takes a processor for a while, so not on an async thread.
async fn fold(mut state: Projection, parts: Vec<Vec<Record>>) -> Result<Projection, ReadError> {
    let folding = tokio::task::spawn_blocking(move || {
        for records in parts {
            let taken = state.replay(&records);
            if let Some(record) = records.get(taken) {
                return Err(ReadError::Log(format!(
                    "the record with event {} does not follow the one with {}",
                    record.first,
                    state.seq()
                )));
            }
        }
        Ok(state)
    });
    folding.await.map_err(|error| ReadError::Log(error.to_string()))?
}
