//! Keeps the index up with the log, behind the commits and out of their way.

use std::path::PathBuf;
use std::time::Duration;

use chv_domain::{Record, RecordHash, Seq, Term};
use openraft::EntryPayload;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{Index, Mark};
use crate::raft::log_storage::LogStorage;
use crate::raft::state_machine::Applied;
use crate::raft::{Entry, LogId};

/// How many bytes of the log are taken in at a time.
const PAGE: usize = 4 << 20;

/// How long to wait after a failure.
const AGAIN: Duration = Duration::from_secs(1);

/// The index, once it can be used, and the last event that is in it.
pub(crate) type Reached = (Option<Index>, Seq);

/// Checks the index against the log, then follows the log until `stop`. `reached` is told how far the index is.
pub(crate) async fn follow(
    mut index: Index,
    path: PathBuf,
    log: LogStorage,
    state_machine: Applied,
    reached: watch::Sender<Reached>,
    stop: CancellationToken,
) {
    let mut applied = state_machine.entry.subscribe();
    let mut mark = match agreed(&index, &log, &mut applied, &stop).await {
        Some(mark) => mark,
        None if stop.is_cancelled() => return,
        None => {
            warn!("the index does not agree with the log; it is made again");
            // sled locks its directory: every handle to the old one has to go first.
            reached.send_modify(|held| held.0 = None);
            drop(index);
            let dir = path.clone();
            match tokio::task::spawn_blocking(move || Index::anew(&dir)).await {
                Ok(Ok(anew)) => {
                    index = anew;
                    Mark::default()
                }
                Ok(Err(error)) => return error!(%error, "audit queries are not answered"),
                Err(error) => return error!(%error, "audit queries are not answered"),
            }
        }
    };
    reached.send_replace((Some(index.clone()), mark.seq));
    let mut state = Chain::at(mark);
    loop {
        let end = applied.borrow_and_update().map_or(0, |applied| applied.index);
        while mark.entry < end {
            let page = match log.entries(mark.entry + 1, end + 1, PAGE).await {
                Ok(page) => page,
                Err(error) => {
                    error!(%error, "the index can't read the log; audit queries fall behind");
                    break;
                }
            };
            if page.first().map(|entry| entry.log_id.index) != Some(mark.entry + 1) {
                // The log begins later: this replica was given a snapshot instead of what it missed.
                let base = *state_machine.base.borrow();
                if base.entry <= mark.entry {
                    break;
                }
                warn!(from = %mark.seq, to = %base.seq, "the index leaves out what the log has not");
                (mark, state) = (base, Chain::at(base));
                reached.send_modify(|held| held.1 = mark.seq);
                continue;
            }
            let into = index.clone();
            let from = (mark, state);
            match tokio::task::spawn_blocking(move || take_in(&into, &page, from)).await {
                Ok(Ok((now, chain))) => (mark, state) = (now, chain),
                Ok(Err(error)) => {
                    error!(%error, "audit queries fall behind");
                    break;
                }
                Err(error) => return error!(%error, "audit queries fall behind"),
            }
            reached.send_modify(|held| held.1 = mark.seq);
        }
        let behind = mark.entry < end;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(AGAIN), if behind => {}
            changed = applied.changed() => if changed.is_err() { return },
        }
    }
}

/// Where the chain of records stands: a batch that does not continue it was dropped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chain {
    seq: Seq,
    hash: RecordHash,
}

impl Chain {
    pub(crate) fn at(mark: Mark) -> Self {
        Self {
            seq: mark.seq,
            hash: mark.hash,
        }
    }

    /// Its last event, and the hash of its record.
    pub(crate) fn end(&self) -> (Seq, RecordHash) {
        (self.seq, self.hash)
    }

    /// The records of an entry that were applied; none when they were dropped.
    pub(crate) fn applied<'a>(&mut self, entry: &'a Entry) -> &'a [Record] {
        let EntryPayload::Normal(batch) = &entry.payload else {
            return &[];
        };
        let term = Term(entry.log_id.leader_id.term);
        let mut next = *self;
        for record in &batch.records {
            let continues = record.first == next.seq.next() && record.prev == next.hash;
            if record.term != term || !continues || record.events.is_empty() {
                return &[];
            }
            next = Self {
                seq: record.last(),
                hash: record.hash(),
            };
        }
        *self = next;
        &batch.records
    }
}

fn take_in(index: &Index, page: &[Entry], from: (Mark, Chain)) -> Result<(Mark, Chain), super::IndexError> {
    let (mut mark, mut chain) = from;
    let mut records = Vec::new();
    for entry in page {
        records.extend(
            chain
                .applied(entry)
                .iter()
                .map(|record| (entry.log_id.index, record)),
        );
        mark.entry = entry.log_id.index;
    }
    (mark.seq, mark.hash) = (chain.seq, chain.hash);
    index.add(&records, mark)?;
    Ok((mark, chain))
}

/// The index's mark, when the log holds at that entry what the index says. `None` also when `stop` came first.
async fn agreed(
    index: &Index,
    log: &LogStorage,
    applied: &mut watch::Receiver<Option<LogId>>,
    stop: &CancellationToken,
) -> Option<Mark> {
    let mark = index
        .mark()
        .inspect_err(|error| warn!(%error, "the index's mark does not read"))
        .ok()?;
    if mark == Mark::default() {
        return Some(mark);
    }
    // Only what is applied here is known to be the log; a restarted replica learns it from the leader.
    tokio::select! {
        () = stop.cancelled() => return None,
        reached = applied.wait_for(|applied| applied.is_some_and(|applied| applied.index >= mark.entry)) => {
            reached.ok()?;
        }
    }
    let mut from = mark.entry;
    loop {
        let entry = log.entries(from, from + 1, usize::MAX).await.ok()?.pop()?;
        if let EntryPayload::Normal(batch) = &entry.payload
            && let Some(last) = batch.records.last()
            && last.last() <= mark.seq
        {
            let agrees = last.last() == mark.seq && last.hash() == mark.hash;
            info!(entry = mark.entry, seq = %mark.seq, agrees, "the index was compared with the log");
            return agrees.then_some(mark);
        }
        // Raft's own entries, and batches that were dropped, say nothing about the chain.
        from = from.checked_sub(1)?;
    }
}
