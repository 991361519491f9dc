//! The one task that decides. It takes all commands that wait, decides them one after the other on what is under way
//! to the log, and appends what was decided as one entry.
//!
//! A few entries are under way at a time, appended in order, each decided on the one before. When one is not taken,
//! none after it is either, since each continues the chain of hashes: so there is nothing to undo, and the task ends.
//! Answers are given in the order of the entries. See docs/adr/0004.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use chv_domain::{Batch, BatchOutcome, Context, Projection, Record, Seq};
use chv_eventlog::{AppendError, Stage};
use chv_proto::client::now;
use chv_telemetry::TRACED;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use tokio::sync::mpsc::{self, error::TrySendError};
use tracing::{Span, debug, debug_span, error, warn};

use super::Office;
use super::answered::Answered;
use super::answering::{Answers, ReplyTo};
use super::deciding::{Verdict, after, decide_one};
use super::intake::Waiting;
use crate::answer::{Answer, TryAgain};

/// The most commands in one entry, and the most bytes of their messages: bounds the entry's size, and the
/// time that the first one waits.
const MOST: (usize, usize) = (1024, 1 << 20);

/// How many entries may be under way.
const UNDER_WAY: usize = 4;

/// How long the next entry may wait for the publisher to come to the last ones.
const PUBLISHING: Duration = Duration::from_millis(250);

/// Up to so many commands are decided where the task is; more would keep others on its thread waiting.
const AT_ONCE: usize = 64;

/// Records that were committed, and the state with them folded in.
pub(super) struct Committed {
    pub(super) records: Vec<Record>,
    pub(super) state: Projection,
}

/// What one command of an entry is answered, once the entry is committed.
struct Pending {
    to: ReplyTo,
    span: Span,
    answer: Answer,
}

/// An entry that was decided: what is to be appended, and what to say then.
struct Decided {
    state: Projection,
    records: Vec<Record>,
    pending: Vec<Pending>,
}

/// What became of an entry.
type Ended = (Decided, Result<(), TryAgain>);

struct Decider {
    office: Office,
    /// Where answers go.
    answers: mpsc::Sender<Answers>,
    committed: mpsc::Sender<Committed>,
    /// What the publisher had no room for, and until when it is waited for. No entry is begun meanwhile.
    unpublished: Option<(Committed, tokio::time::Instant)>,
    answered: Answered,
    /// Why the first entry failed that did.
    failed: Option<TryAgain>,
    /// The state that all entries under way lead to.
    head: Projection,
    under_way: FuturesOrdered<Pin<Box<dyn Future<Output = Ended> + Send>>>,
    waiting: VecDeque<Waiting>,
}

pub(super) async fn run(
    office: Office,
    mut commands: mpsc::Receiver<Waiting>,
    answers: mpsc::Sender<Answers>,
    committed: mpsc::Sender<Committed>,
) {
    let head = office.reader.log.projection();
    let mut decider = Decider {
        office,
        answers,
        committed,
        unpublished: None,
        answered: Answered::default(),
        failed: None,
        head,
        under_way: FuturesOrdered::new(),
        waiting: VecDeque::new(),
    };
    decider.until_over(&mut commands).await;
    decider.office.stop.cancel();
    while let Some(ended) = decider.under_way.next().await {
        decider.end(ended).await;
    }
    commands.close();
    while let Some(left) = commands.recv().await {
        decider.waiting.push_back(left);
    }
    let left = std::mem::take(&mut decider.waiting);
    let refused = left
        .into_iter()
        .map(|left| left.to.with(Err(TryAgain::NotLeader.refused())));
    let answers = Answers {
        since: Instant::now(),
        answers: refused.collect(),
    };
    // The task that sends them ends only after this one.
    let _ = decider.answers.send(answers).await;
}

impl Decider {
    async fn until_over(&mut self, commands: &mut mpsc::Receiver<Waiting>) {
        let stop = self.office.stop.clone();
        let mut taken = Vec::with_capacity(MOST.0);
        loop {
            let room = self.under_way.len() < UNDER_WAY && self.unpublished.is_none();
            if room && !self.waiting.is_empty() {
                if !self.begin().await {
                    return;
                }
                continue;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(ended) = self.under_way.next() => if !self.end(ended).await {
                    return;
                },
                () = publish(&self.committed, &mut self.unpublished), if self.unpublished.is_some() => {}
                count = commands.recv_many(&mut taken, MOST.0), if room => match count {
                    0 => return,
                    _ => self.waiting.extend(taken.drain(..)),
                },
            }
        }
    }

    /// Decides an entry out of what waits, and appends it. False when this replica should not go on deciding.
    async fn begin(&mut self) -> bool {
        if self.under_way.is_empty() {
            self.head = self.office.reader.log.projection();
        }
        let taken = gather(&mut self.waiting);
        let (state, term, now) = (self.head.clone(), self.office.term, now());
        let alive = self.office.reader.alive(&state);
        let replicas = self.office.reader.replicas();
        let answered = std::mem::take(&mut self.answered);
        let (began, timings) = (Instant::now(), self.office.reader.log.timings().clone());
        for waiting in &taken {
            timings.record(Stage::Queue, began.duration_since(waiting.since), 1);
        }
        let few = taken.len() <= AT_ONCE;
        let deciding = move || {
            let context = Context {
                now,
                term,
                alive: &alive,
                replicas: &replicas,
            };
            decide_all(state, taken, answered, context)
        };
        let decided = match few {
            true => Ok(deciding()),
            false => tokio::task::spawn_blocking(deciding).await,
        };
        let Ok((decided, answered)) = decided else {
            // Only at the runtime's end: each command's panic is caught.
            error!("deciding did not end; the commands of this batch were not done");
            return false;
        };
        timings.record(Stage::Decide, began.elapsed(), decided.pending.len());
        self.answered = answered;
        self.head = decided.state.clone();
        let ending = self.commit(decided).await;
        self.under_way.push_back(ending);
        true
    }

    /// Hands what was decided to the log. Where nothing is to be recorded, it is made sure that this replica still
    /// leads: a deposed leader's refusals would be about a state that is no longer so.
    async fn commit(&mut self, decided: Decided) -> Pin<Box<dyn Future<Output = Ended> + Send>> {
        let term = self.office.term;
        let log = self.office.reader.log.clone();
        let traced = decided.pending.iter().map(|pending| &pending.span);
        let spans: Vec<Span> = traced
            .filter(|span| !span.is_disabled())
            .map(|span| debug_span!(target: TRACED, parent: span, "commit", %term))
            .collect();
        if decided.records.is_empty() {
            return Box::pin(async move {
                let confirmed = log.confirm_leadership().await.map_err(|reason| {
                    warn!(%reason, "can't make sure that this replica leads");
                    TryAgain::NotLeader
                });
                drop(spans);
                (decided, confirmed)
            });
        }
        let batch = Batch {
            published: Seq(self.office.published.load(Ordering::Acquire)),
            records: decided.records.clone(),
        };
        // Handed over here, so that entries reach the log in the order in which they were decided.
        let appending = log.begin_append(batch, decided.state.clone()).await;
        Box::pin(async move {
            let outcome = match appending {
                Ok(appending) => appending.outcome().await,
                Err(error) => Err(error),
            };
            drop(spans);
            let taken = match outcome {
                Ok(BatchOutcome::Applied { .. }) => Ok(()),
                Ok(BatchOutcome::Dropped) => {
                    warn!(%term, "a batch was dropped: it was not decided on the log's last state");
                    Err(TryAgain::NotLeader)
                }
                Err(AppendError::NotLeader) => Err(TryAgain::NotLeader),
                Err(AppendError::NoDisk(disks)) => Err(TryAgain::NoDisk(disks)),
                Err(reason) => {
                    warn!(%reason, "a batch was not appended");
                    Err(TryAgain::Unavailable)
                }
            };
            (decided, taken)
        })
    }

    /// Answers an entry that ended. False when this replica should not go on deciding.
    async fn end(&mut self, (decided, taken): Ended) -> bool {
        let Decided {
            state,
            records,
            pending,
        } = decided;
        let taken = after(&mut self.failed, taken, &records);
        let mut answers = Vec::with_capacity(pending.len());
        for pending in pending {
            let answer = match &taken {
                Ok(()) => pending.answer,
                Err(reason) => Err(reason.refused()),
            };
            answers.push(pending.to.with(answer));
        }
        if taken.is_ok() && !records.is_empty() {
            let committed = Committed { records, state };
            match self.committed.try_send(committed) {
                Err(TrySendError::Full(committed)) if self.unpublished.is_none() => {
                    self.unpublished = Some((committed, tokio::time::Instant::now() + PUBLISHING));
                }
                // The publisher reads on from the log, or has ended.
                Ok(()) | Err(_) => {}
            }
        }
        // Last, since what is woken last runs first: senders wait for this. It waits itself when answers are not got rid
        // of: then no more is decided either.
        let answers = Answers {
            since: Instant::now(),
            answers,
        };
        self.answers.send(answers).await.is_ok() && taken.is_ok()
    }
}

/// Hands over what waits to be published, or gives it up when its time has come.
async fn publish(to: &mpsc::Sender<Committed>, unpublished: &mut Option<(Committed, tokio::time::Instant)>) {
    let Some((_, until)) = unpublished else { return };
    let room = tokio::time::timeout_at(*until, to.reserve()).await;
    match (room, unpublished.take()) {
        (Ok(Ok(room)), Some((committed, _))) => room.send(committed),
        _ => debug!("the publisher is behind; it reads on from the log"),
    }
}

/// All that wait, up to the bounds of a batch.
fn gather(waiting: &mut VecDeque<Waiting>) -> Vec<Waiting> {
    let (most, most_bytes) = MOST;
    let (mut bytes, mut count) = (0, 0);
    for next in waiting.iter().take(most) {
        bytes += next.bytes;
        count += 1;
        if bytes >= most_bytes {
            break;
        }
    }
    waiting.drain(..count).collect()
}

fn decide_all(
    mut state: Projection,
    waiting: Vec<Waiting>,
    mut answered: Answered,
    context: Context<'_>,
) -> (Decided, Answered) {
    let mut records = Vec::new();
    let mut pending = Vec::with_capacity(waiting.len());
    let now = Instant::now();
    for Waiting {
        submission, to, span, ..
    } in waiting
    {
        let deciding = debug_span!(target: TRACED, parent: &span, "decide").entered();
        let Verdict { answer, record } = decide_one(&mut state, &mut answered, &submission, context, now);
        drop(deciding);
        pending.push(Pending { to, span, answer });
        records.extend(record);
    }
    let decided = Decided {
        state,
        records,
        pending,
    };
    (decided, answered)
}
