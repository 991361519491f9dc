//! What only the leader does, for as long as it leads: take commands in, decide them, publish what was
//! committed, and say once a second that it leads.

pub mod answered;
mod answering;
mod decider;
pub mod deciding;
pub mod failover;
pub mod feed;
pub(crate) mod hand_over;
mod intake;
pub mod leases;
mod members;
pub mod own;
pub mod publication;
mod publisher;
mod purge;
mod refusing;
mod renewal;
mod retention;
mod tick;
mod turn_away;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chv_domain::{LeaseDuration, Term};
use chv_eventlog::Leadership;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::query::{self, Reader};
use leases::Leases;

/// How many commands may wait to be decided; more are answered `busy`.
const QUEUE: usize = 8192;

/// How many committed entries may wait to be published. Commands wait for their events to be published then, for a
/// while: to read events again from the log costs more than publishing them, and would only put it off.
const UNPUBLISHED: usize = 16;

/// How many entries' answers may wait to be handed to the broker's client.
const UNSENT: usize = 16;

/// How long to wait before leading again.
const PAUSE: Duration = Duration::from_millis(100);

/// What the leader's tasks share.
#[derive(Clone)]
pub(crate) struct Office {
    pub(crate) reader: Reader,
    pub(crate) term: Term,
    /// The last event that was handed to the broker in this term.
    pub(crate) published: Arc<AtomicU64>,
    /// What is left of the room for commands that wait.
    pub(crate) room: Arc<Semaphore>,
    /// What this leader has granted to hosts.
    pub(crate) leases: Arc<Mutex<Leases>>,
    /// Asks this replica to let another one lead.
    pub(crate) hand_over: CancellationToken,
    /// Cancelled once commands are listened for.
    pub(crate) listening: CancellationToken,
    /// Ends the term's tasks.
    pub(crate) stop: CancellationToken,
    /// The term's tasks.
    pub(crate) tasks: TaskTracker,
}

/// Leads whenever the log says that this replica does, until `stop`.
pub(crate) async fn whenever_elected(reader: Reader, stop: CancellationToken) {
    let mut leadership = reader.log.leadership();
    // What came of commands while this replica ended to lead, where it is to answer it.
    let mut unread = None;
    loop {
        let elected = leadership.wait_for(|state| matches!(state, Leadership::Leader { ready: true, .. }));
        let term = tokio::select! {
            () = stop.cancelled() => return,
            elected = elected => match elected.as_deref() {
                Ok(Leadership::Leader { term, .. }) => *term,
                _ => return,
            },
        };
        // After an append that took too long its entry may still be on its way. Nothing is decided before it
        // is known what became of it.
        let leads = tokio::select! {
            () = stop.cancelled() => return,
            leads = refusing::until_settled(&reader, unread.take()) => leads,
        };
        let still =
            matches!(*leadership.borrow(), Leadership::Leader { term: now, ready: true } if now == term);
        if !leads || !still {
            continue;
        }
        let office = Office {
            reader: reader.clone(),
            term,
            published: Arc::new(AtomicU64::new(reader.log.projection().published().0)),
            room: Arc::new(Semaphore::new(intake::ROOM_KIB)),
            leases: Arc::new(Mutex::new(Leases::new(
                reader.lease,
                LeaseDuration::LONGEST,
                Instant::now(),
            ))),
            hand_over: CancellationToken::new(),
            listening: CancellationToken::new(),
            stop: stop.child_token(),
            tasks: TaskTracker::new(),
        };
        info!(%term, "this replica leads");
        let mut left = begin(&office);
        let over = leadership.wait_for(
            |state| !matches!(state, Leadership::Leader { term: now, ready: true } if *now == term),
        );
        tokio::select! {
            () = stop.cancelled() => {}
            () = office.stop.cancelled() => {}
            () = office.hand_over.cancelled() => {}
            () = reader.log.turned_read_only() => {}
            _ = over => {}
        }
        office.stop.cancel();
        office.tasks.close();
        office.tasks.wait().await;
        info!(%term, "the term's tasks have ended");
        // Nothing is appended any more. A replica that ends spares the others the wait for its silence.
        if stop.is_cancelled() || office.hand_over.is_cancelled() {
            match left.try_recv() {
                Ok(commands) => {
                    turn_away::until_another_listens(&reader, commands, hand_over::now(&reader)).await;
                }
                Err(_) => {
                    hand_over::now(&reader).await;
                }
            }
        } else if reader.log.disks().is_err()
            && let Ok(commands) = left.try_recv()
        {
            unread = Some(commands);
        }
        // Where the tasks ended by themselves, the log still says that this replica leads: what failed for
        // them would fail again at once.
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// Begins the term's tasks. When they end, what else comes in of commands is left in what is returned.
fn begin(office: &Office) -> oneshot::Receiver<intake::Messages> {
    let tasks = &office.tasks;
    let (queue, commands) = mpsc::channel(QUEUE);
    let (committed, unpublished) = mpsc::channel(UNPUBLISHED);
    let start = office.reader.log.projection();
    let (answers, unsent) = mpsc::channel(UNSENT);
    tasks.spawn(decider::run(office.clone(), commands, answers, committed));
    tasks.spawn(answering::run(office.clone(), unsent));
    tasks.spawn(or_resign(
        office.clone(),
        publisher::run(office.clone(), start, unpublished),
    ));
    tasks.spawn(tick::run(office.clone()));
    tasks.spawn(or_resign(office.clone(), renewal::run(office.clone())));
    tasks.spawn(failover::run(office.clone(), queue.clone()));
    tasks.spawn(hand_over::when_asked(office.clone()));
    tasks.spawn(hand_over::when_cut_off(office.clone()));
    tasks.spawn(hand_over::when_short_of_room(office.clone()));
    tasks.spawn(members::run(office.clone(), queue.clone()));
    tasks.spawn(retention::run(office.clone(), queue.clone()));
    tasks.spawn(purge::run(office.clone(), queue.clone()));
    let (leave, left) = oneshot::channel();
    tasks.spawn(or_resign(
        office.clone(),
        intake::run(office.clone(), queue, leave),
    ));
    let (reader, stop) = (office.reader.clone(), office.stop.clone());
    tasks.spawn(or_resign(office.clone(), query::answer_as_leader(reader, stop)));
    left
}

/// A leader that can't hear must not sit on its office's tasks: they end, and begin anew.
async fn or_resign<E: std::fmt::Display>(office: Office, task: impl Future<Output = Result<(), E>>) {
    let term = office.term;
    match task.await {
        Ok(()) if office.stop.is_cancelled() => return,
        Ok(()) => warn!(%term, "the broker's client ended what a leader listens to"),
        Err(error) => warn!(%error, %term, "can't do what a leader does"),
    }
    office.stop.cancel();
}
