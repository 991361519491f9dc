//! The one task that decides. It takes all commands that wait, decides them one after the other on the
//! applied state and on each other's events, appends what was decided as one entry, and waits for it.
//!
//! One batch is under way at a time: so there is nothing in flight to undo when the log refuses one, and
//! while it is flushed the next batch gathers. See docs/adr/0004.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Instant;

use chv_domain::{Batch, BatchOutcome, Context, Decided, Projection, Record, Seq, decide_onto};
use chv_eventlog::AppendError;
use chv_proto::client::now;
use chv_proto::convert;
use tokio::sync::{mpsc, oneshot};
use tracing::{Span, debug, error, info_span, warn};

use super::Office;
use super::answered::{Answered, Sent};
use super::intake::{Answer, Waiting};
use crate::answer::{self, TryAgain};

/// The most commands in one entry, and the most bytes of their messages: bounds the entry's size, and the
/// time that the first one waits.
const MOST: (usize, usize) = (1024, 1 << 20);

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
    let mut answered = Answered::default();
    loop {
        let first = tokio::select! {
            () = office.stop.cancelled() => break,
            first = commands.recv() => match first {
                Some(first) => first,
                None => break,
            },
        };
        let batch = gather(first, &mut commands);
        let Some(done) = one_batch(&office, batch, answered, &committed).await else {
            office.stop.cancel();
            break;
        };
        answered = done;
    }
    commands.close();
    while let Some(left) = commands.recv().await {
        let _ = left.answer.send(Err(TryAgain::NotLeader.refused()));
    }
}

/// All that wait, up to the bounds of a batch.
fn gather(first: Waiting, commands: &mut mpsc::Receiver<Waiting>) -> Vec<Waiting> {
    let (most, most_bytes) = MOST;
    let (mut bytes, mut batch) = (first.bytes, vec![first]);
    while batch.len() < most && bytes < most_bytes {
        let Ok(next) = commands.try_recv() else { break };
        bytes += next.bytes;
        batch.push(next);
    }
    batch
}

/// What came of one command, before it is known whether the log takes it.
struct Verdict {
    to: oneshot::Sender<Answer>,
    span: Span,
    sent: Sent,
    answer: Answer,
    recorded: bool,
}

struct DecidedBatch {
    state: Projection,
    records: Vec<Record>,
    verdicts: Vec<Verdict>,
    answered: Answered,
}

/// Decides, appends and answers one batch. `None` when this replica should not go on deciding.
async fn one_batch(
    office: &Office,
    waiting: Vec<Waiting>,
    answered: Answered,
    committed: &mpsc::Sender<Committed>,
) -> Option<Answered> {
    let state = office.reader.log.projection();
    let alive = office.reader.alive(&state);
    let replicas = office.reader.replicas();
    let (term, now) = (office.term, now());
    let deciding = tokio::task::spawn_blocking(move || {
        let context = Context {
            now,
            term,
            alive: &alive,
            replicas: &replicas,
        };
        decide_all(state, waiting, answered, context)
    });
    let Ok(decided) = deciding.await else {
        // Only at the runtime's end: each command's panic is caught.
        error!("deciding did not end; the commands of this batch were not done");
        return None;
    };
    let DecidedBatch {
        state,
        records,
        verdicts,
        mut answered,
    } = decided;
    if let Err(reason) = commit(office, &records, &verdicts).await {
        for verdict in verdicts {
            let _ = verdict.to.send(Err(reason.refused()));
        }
        return None;
    }
    for Verdict {
        to,
        sent,
        answer,
        recorded,
        ..
    } in verdicts
    {
        if !recorded {
            answered.note(sent, answer.clone(), Instant::now());
        }
        // The sender may have given up waiting; that is its right.
        let _ = to.send(answer);
    }
    if !records.is_empty() && committed.try_send(Committed { records, state }).is_err() {
        debug!("the publisher is behind; it reads on from the log");
    }
    Some(answered)
}

fn decide_all(
    mut state: Projection,
    waiting: Vec<Waiting>,
    answered: Answered,
    context: Context<'_>,
) -> DecidedBatch {
    let mut records = Vec::new();
    let mut verdicts = Vec::with_capacity(waiting.len());
    for Waiting {
        submission,
        answer: to,
        span,
        ..
    } in waiting
    {
        let deciding = info_span!(parent: &span, "decide").entered();
        let sent = Sent::of(&submission);
        let (answer, record) = match answered.of(&sent) {
            Some(answer) => (answer.clone(), None),
            None => decide_one(&mut state, &submission, context),
        };
        drop(deciding);
        let recorded = record.is_some();
        records.extend(record);
        verdicts.push(Verdict {
            to,
            span,
            sent,
            answer,
            recorded,
        });
    }
    DecidedBatch {
        state,
        records,
        verdicts,
        answered,
    }
}

/// Decides one command, and makes its answer while the state is as this command left it.
fn decide_one(
    state: &mut Projection,
    submission: &chv_domain::Submission,
    context: Context<'_>,
) -> (Answer, Option<Record>) {
    let before = state.clone();
    let attempt = catch_unwind(AssertUnwindSafe(|| decide_onto(state, submission, context)));
    match attempt {
        Ok(Ok(decided)) => {
            let answer = answer::accepted(state, &decided);
            let record = match decided {
                Decided::Record(record) => Some(record),
                Decided::Repeat(_) | Decided::Unchanged { .. } => None,
            };
            (Ok(answer), record)
        }
        Ok(Err(rejection)) => (Err(answer::rejected(&rejection)), None),
        Err(_) => {
            // A defect in the rules must not take the other commands of the batch along.
            error!(id = %submission.id, verb = %submission.command.verb(), "deciding a command panicked");
            *state = before;
            let message = "deciding this command failed; that is a defect, please report it";
            (Err(convert::refused("internal", message, "")), None)
        }
    }
}

/// Makes what was decided a fact. Where nothing is to be recorded, makes sure that this replica still
/// leads: a deposed leader's refusals would be about a state that is no longer so.
async fn commit(office: &Office, records: &[Record], verdicts: &[Verdict]) -> Result<(), TryAgain> {
    let commit = |verdict: &Verdict| info_span!(parent: &verdict.span, "commit", term = %office.term);
    let _spans: Vec<Span> = verdicts.iter().map(commit).collect();
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
            warn!(term = %office.term, "a batch was dropped: it was not decided on the log's last state");
            Err(TryAgain::NotLeader)
        }
        Err(AppendError::NotLeader) => Err(TryAgain::NotLeader),
        Err(reason) => {
            warn!(%reason, "a batch was not appended");
            Err(TryAgain::Unavailable)
        }
    }
}
