//! Elections: a replica that no longer hears a leader stands for election, in place of Raft's own timer.
//!
//! Who wins is Raft's business; this only says when to try.

mod timer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use openraft::{Raft, ServerState};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::raft::TypeConfig;
use timer::{Standing, TICK, Timer};

/// When a leader was last heard, noted by the side that answers it.
#[derive(Clone)]
pub(crate) struct Heard(Arc<(Instant, AtomicU64)>);

impl Heard {
    pub(crate) fn new() -> Self {
        Self(Arc::new((Instant::now(), AtomicU64::new(0))))
    }

    /// A leader of a term that counts is heard now, or another candidate is voted for.
    pub(crate) fn note(&self) {
        let (start, last) = &*self.0;
        let now = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        last.fetch_max(now, Ordering::Relaxed);
    }

    fn last(&self) -> Instant {
        let (start, last) = &*self.0;
        *start + Duration::from_micros(last.load(Ordering::Relaxed))
    }
}

/// Whether this replica would be of use as a leader: one that does not reach the broker is not.
#[derive(Clone)]
pub(crate) struct Able(Arc<AtomicBool>);

impl Able {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    pub(crate) fn set(&self, able: bool) {
        self.0.store(able, Ordering::Relaxed);
    }

    pub(crate) fn is(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Whether another replica has refused its vote since the last attempt because it has more of the log. That one can win,
/// this one can't: it stands later, or both would go on outbidding each other's terms.
#[derive(Clone, Default)]
pub(crate) struct Behind(Arc<AtomicBool>);

impl Behind {
    pub(crate) fn set(&self, behind: bool) {
        self.0.store(behind, Ordering::Relaxed);
    }

    fn is(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Stands for election whenever no leader is heard for too long, until `stop`.
pub(crate) async fn when_nobody_leads(
    raft: Raft<TypeConfig>,
    heard: Heard,
    able: Able,
    behind: Behind,
    lease: Duration,
    stop: CancellationToken,
) {
    let mut timer = Timer::new(Instant::now(), lease, rand::random());
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let metrics = raft.metrics();
    let mut last = heard.last();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if std::mem::replace(&mut last, heard.last()) != last {
            behind.set(false);
        }
        let (standing, term) = {
            let metrics = metrics.borrow();
            let mut voters = metrics.membership_config.voter_ids();
            let votes = voters.any(|voter| voter == metrics.id);
            let alone = votes && metrics.membership_config.voter_ids().count() == 1;
            let standing = match metrics.state {
                ServerState::Leader | ServerState::Learner | ServerState::Shutdown => Standing::Out,
                _ if !votes => Standing::Out,
                _ if alone => Standing::Alone,
                _ if able.is() && !behind.is() => Standing::Follower,
                _ => Standing::Reluctant,
            };
            (standing, metrics.current_term)
        };
        if timer.tick(Instant::now(), last, standing, rand::random()) {
            info!(term, "no leader is heard: standing for election");
            behind.set(false);
            if let Err(error) = raft.trigger().elect().await {
                debug!(%error, "Raft takes no election");
                return;
            }
        }
    }
}
