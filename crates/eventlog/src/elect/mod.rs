//! Elections: a replica that no longer hears a leader asks whether it would be voted for, and then stands for election,
//! in place of Raft's own timer.
//!
//! Who wins is Raft's business; this only says when to try.

mod poll;
mod timer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use openraft::{BasicNode, Raft, RaftMetrics, ServerState};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::net::Peers;
use crate::raft::TypeConfig;
use crate::raft::log_storage::LogStorage;
pub(crate) use poll::Opinion;
use poll::Outlook;
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

    /// How long no leader was heard; `None` when none ever was.
    pub(crate) fn quiet(&self) -> Option<Duration> {
        let (start, last) = &*self.0;
        match last.load(Ordering::Relaxed) {
            0 => None,
            last => Some(start.elapsed().saturating_sub(Duration::from_micros(last))),
        }
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

/// Stands for election whenever no leader is heard for too long and a majority would vote for this replica, until `stop`.
pub(crate) async fn when_nobody_leads(
    raft: Raft<TypeConfig>,
    peers: Peers,
    log: LogStorage,
    heard: Heard,
    able: Able,
    lease: Duration,
    stop: CancellationToken,
) {
    let mut timer = Timer::new(Instant::now(), lease, rand::random());
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let metrics = raft.metrics();
    let mut last = heard.last();
    // Another one has more of the log, and can win. This one stands later, lest both ask at the same moments.
    let mut behind = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if std::mem::replace(&mut last, heard.last()) != last {
            behind = false;
        }
        let standing = standing(&metrics.borrow(), able.is() && !behind);
        if !timer.tick(Instant::now(), last, standing, rand::random()) {
            continue;
        }
        let known = metrics.borrow().clone();
        let term = known.current_term;
        let outlook = tokio::select! {
            () = stop.cancelled() => return,
            outlook = poll::poll(known, log.last(), &peers, lease / 2) => outlook,
        };
        behind = false;
        match outlook {
            // It may have spoken meanwhile.
            Outlook::Wins if heard.last() == last => {
                info!(term, "no leader is heard: standing for election");
                if let Err(error) = raft.trigger().elect().await {
                    debug!(%error, "Raft takes no election");
                    return;
                }
                timer.again_after(Instant::now(), None);
            }
            Outlook::LeaderHeard { safe } => timer.again_after(Instant::now(), Some(safe)),
            Outlook::Behind => {
                behind = true;
                timer.again_after(Instant::now(), None);
            }
            Outlook::Wins | Outlook::Unanswered => timer.again_after(Instant::now(), None),
        }
        debug!(term, ?outlook, "no leader is heard: the voters were asked");
    }
}

fn standing(metrics: &RaftMetrics<u64, BasicNode>, willing: bool) -> Standing {
    let votes = metrics
        .membership_config
        .voter_ids()
        .any(|voter| voter == metrics.id);
    match metrics.state {
        ServerState::Leader | ServerState::Learner | ServerState::Shutdown => Standing::Out,
        _ if !votes => Standing::Out,
        _ if metrics.membership_config.voter_ids().count() == 1 => Standing::Alone,
        _ if willing => Standing::Follower,
        _ => Standing::Reluctant,
    }
}
