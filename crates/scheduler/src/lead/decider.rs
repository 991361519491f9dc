//! The one task that decides. It takes all commands that wait, decides them one after the other on the
//! applied state and on each other's events, appends what was decided as one entry, and waits for it.
//!
//! One batch is under way at a time: so there is nothing in flight to undo when the log refuses one, and
//! while it is flushed the next batch gathers. See docs/adr/0004.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Instant;

use chv_domain::{
    Batch, BatchOutcome, Context, Decided, HostId, Projection, Record, Rejection, Seq, Term, Timestamp,
    decide_onto,
};
use chv_proto::client::now;
use tokio::sync::{mpsc, oneshot};
use tracing::{Span, debug, error, info_span, warn};

use super::Office;
use super::intake::{Answer, Waiting};
use crate::answer::{self, TryAgain};

/// The most commands in one entry; bounds the entry's size and the time that the first one waits.
const MOST: usize = 1024;

/// Records that were committed, and the state with them folded in.
pub(super) struct Committed {
    pub(super) records: Vec<Record>,
    pub(super) state: Projection,
}

pub(super) async fn run(
    office: Office,
    mut commands: mpsc::Receiver<Waiting>,
    committed: mpsc::Sender<Committed>,
) {
    let mut waiting = Vec::new();
    loop {
        let taken = tokio::select! {
            () = office.stop.cancelled() => break,
            taken = commands.recv_many(&mut waiting, MOST) => taken,
        };
        if taken == 0 {
            break;
        }
        let batch = std::mem::take(&mut waiting);
        if !one_batch(&office, batch, &committed).await {
            office.stop.cancel();
            break;
        }
    }
    commands.close();
    while let Some(left) = commands.recv().await {
        let _ = left.answer.send(Err(TryAgain::NotLeader.refused()));
    }
}

/// What came of one command, before it is known whether the log takes it.
struct Verdict {
    answer: oneshot::Sender<Answer>,
    span: Span,
    decided: Result<Decided, Rejection>,
}

struct DecidedBatch {
    state: Projection,
    records: Vec<Record>,
    verdicts: Vec<Verdict>,
}

/// Decides, appends and answers one batch. `false` when this replica should not go on deciding.
async fn one_batch(office: &Office, waiting: Vec<Waiting>, committed: &mpsc::Sender<Committed>) -> bool {
    let state = office.reader.log.projection();
    let alive = office.reader.liveness.alive(&state, Instant::now());
    let (term, now) = (office.term, now());
    let deciding = tokio::task::spawn_blocking(move || decide_all(state, waiting, &alive, term, now));
    let Ok(decided) = deciding.await else {
        // The rules panicked: the senders see their answers' channel closed. That is a defect, not a state.
        error!("deciding failed; the commands of this batch were not done");
        return true;
    };
    let DecidedBatch {
        state,
        records,
        verdicts,
    } = decided;
    match commit(office, &records, &verdicts).await {
        Ok(()) => {
            for verdict in verdicts {
                let answer = match &verdict.decided {
                    Ok(decided) => Ok(answer::accepted(&state, decided)),
                    Err(rejection) => Err(answer::rejected(rejection)),
                };
                // The sender may have given up waiting; that is its right.
                let _ = verdict.answer.send(answer);
            }
            if !records.is_empty() && committed.try_send(Committed { records, state }).is_err() {
                debug!("the publisher is behind; it reads on from the log");
            }
            true
        }
        Err(reason) => {
            for verdict in verdicts {
                let _ = verdict.answer.send(Err(reason.refused()));
            }
            false
        }
    }
}

fn decide_all(
    mut state: Projection,
    waiting: Vec<Waiting>,
    alive: &BTreeSet<HostId>,
    term: Term,
    now: Timestamp,
) -> DecidedBatch {
    let mut records = Vec::new();
    let mut verdicts = Vec::with_capacity(waiting.len());
    for Waiting {
        submission,
        answer,
        span,
    } in waiting
    {
        let deciding = info_span!(parent: &span, "decide").entered();
        let decided = decide_onto(&mut state, &submission, Context { now, term, alive });
        drop(deciding);
        if let Ok(Decided::Record(record)) = &decided {
            records.push(record.clone());
        }
        verdicts.push(Verdict {
            answer,
            span,
            decided,
        });
    }
    DecidedBatch {
        state,
        records,
        verdicts,
    }
}

/// Makes what was decided a fact. Where nothing is to be recorded, makes sure that this replica still
/// leads: a deposed leader's refusals would be about a state that is no longer so.
async fn commit(office: &Office, records: &[Record], verdicts: &[Verdict]) -> Result<(), TryAgain> {
    let _spans: Vec<Span> = verdicts
        .iter()
        .map(|verdict| info_span!(parent: &verdict.span, "commit", term = %office.term))
        .collect();
    if records.is_empty() {
        return office.reader.log.confirm_leadership().await.map_err(|reason| {
            warn!(%reason, "can't make sure that this replica leads");
            TryAgain::NotLeader
        });
    }
    let published = Seq(office.published.load(Ordering::Acquire));
    let batch = Batch {
        published,
        records: records.to_vec(),
    };
    match office.reader.log.append(batch).await {
        Ok(BatchOutcome::Applied { .. }) => Ok(()),
        Ok(BatchOutcome::Dropped) => {
            warn!(term = %office.term, "a batch was dropped: another leader was elected meanwhile");
            Err(TryAgain::NotLeader)
        }
        Err(reason) => {
            warn!(%reason, "a batch was not appended");
            Err(TryAgain::Unavailable)
        }
    }
}
