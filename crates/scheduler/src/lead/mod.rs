//! What only the leader does, for as long as it leads: take commands in, decide them, publish what was
//! committed, and say once a second that it leads.

mod decider;
mod feed;
mod intake;
mod publisher;
mod tick;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use chv_domain::Term;
use chv_eventlog::Leadership;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::query::{self, Reader};

/// How many commands may wait to be decided; more are answered `busy`.
pub const QUEUE: usize = 8192;

/// How many committed batches may wait to be published from memory; the rest is read from the log.
const UNPUBLISHED: usize = 256;

/// How long to wait before leading again.
const PAUSE: Duration = Duration::from_millis(100);

/// What the leader's tasks share.
#[derive(Clone)]
pub(crate) struct Office {
    pub(crate) reader: Reader,
    pub(crate) term: Term,
    /// The last event that was handed to the broker in this term.
    pub(crate) published: Arc<AtomicU64>,
    /// Ends the term's tasks.
    pub(crate) stop: CancellationToken,
}

/// Leads whenever the log says that this replica does, until `stop`.
pub(crate) async fn whenever_elected(reader: Reader, stop: CancellationToken) {
    let mut leadership = reader.log.leadership();
    loop {
        let elected = leadership.wait_for(|state| matches!(state, Leadership::Leader { ready: true, .. }));
        let term = tokio::select! {
            () = stop.cancelled() => return,
            elected = elected => match elected.as_deref() {
                Ok(Leadership::Leader { term, .. }) => *term,
                _ => return,
            },
        };
        let office = Office {
            reader: reader.clone(),
            term,
            published: Arc::new(AtomicU64::new(reader.log.projection().published().0)),
            stop: stop.child_token(),
        };
        info!(%term, "this replica leads");
        let tasks = term_of_office(&office);
        let over = leadership.wait_for(
            |state| !matches!(state, Leadership::Leader { term: now, ready: true } if *now == term),
        );
        tokio::select! {
            () = stop.cancelled() => {}
            () = office.stop.cancelled() => {}
            _ = over => {}
        }
        office.stop.cancel();
        tasks.close();
        tasks.wait().await;
        info!(%term, "the term's tasks have ended");
        // Where the tasks ended by themselves, the log still says that this replica leads: what failed for
        // them would fail again at once.
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

fn term_of_office(office: &Office) -> TaskTracker {
    let tasks = TaskTracker::new();
    let (queue, commands) = mpsc::channel(QUEUE);
    let (committed, unpublished) = mpsc::channel(UNPUBLISHED);
    let start = office.reader.log.projection();
    tasks.spawn(decider::run(office.clone(), commands, committed));
    tasks.spawn(publisher::run(office.clone(), start, unpublished));
    tasks.spawn(tick::run(office.clone()));
    tasks.spawn(or_resign(office.clone(), intake::run(office.clone(), queue)));
    tasks.spawn(or_resign(office.clone(), query::answer_as_leader(office.clone())));
    tasks
}

/// A leader that can't hear must not sit on its office's tasks: they end, and begin anew.
async fn or_resign<E: std::fmt::Display>(office: Office, task: impl Future<Output = Result<(), E>>) {
    if let Err(error) = task.await {
        warn!(%error, term = %office.term, "can't take commands");
        office.stop.cancel();
    }
}
