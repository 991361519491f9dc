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
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::files::Disk;
use crate::net::Peers;
use crate::raft::log_storage::LogStorage;
use crate::raft::{TypeConfig, Vote};
pub(crate) use poll::Opinion;
use poll::Outlook;
use timer::{Standing, TICK, Timer};

/// When a leader was last heard, noted by the side that answers it.
#[derive(Clone)]
pub(crate) struct Heard {
    at: Arc<(Instant, AtomicU64)>,
    /// Who leads as far as was heard, of what was kept from Raft.
    leader: Arc<watch::Sender<Option<Vote>>>,
}

impl Heard {
    pub(crate) fn new() -> Self {
        Self {
            at: Arc::new((Instant::now(), AtomicU64::new(0))),
            leader: Arc::new(watch::Sender::new(None)),
        }
    }

    /// A leader with this vote speaks, and Raft can't be told so for now.
    pub(crate) fn note_leader(&self, vote: Vote) {
        self.leader.send_if_modified(|known| {
            let news = vote.committed && known.is_none_or(|known| vote > known);
            if news {
                *known = Some(vote);
            }
            news
        });
    }

    /// Who leads as far as was heard, where Raft could not be told so; it may know of a later one by now.
    pub(crate) fn leader(&self) -> watch::Receiver<Option<Vote>> {
        self.leader.subscribe()
    }

    /// A leader of a term that counts is heard now, or another candidate is voted for.
    pub(crate) fn note(&self) {
        let (start, last) = &*self.at;
        let now = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        last.fetch_max(now, Ordering::Relaxed);
    }

    /// How long no leader was heard; `None` when none ever was.
    pub(crate) fn quiet(&self) -> Option<Duration> {
        let (start, last) = &*self.at;
        match last.load(Ordering::Relaxed) {
            0 => None,
            last => Some(start.elapsed().saturating_sub(Duration::from_micros(last))),
        }
    }

    fn last(&self) -> Instant {
        let (start, last) = &*self.at;
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

/// A replica, as far as standing for election goes.
pub(crate) struct Candidate {
    pub(crate) raft: Raft<TypeConfig>,
    pub(crate) peers: Peers,
    pub(crate) log: LogStorage,
    pub(crate) heard: Heard,
    pub(crate) able: Able,
    pub(crate) disk: Disk,
    /// For how long after it was heard a leader is safe.
    pub(crate) lease: Duration,
}

/// Stands for election whenever no leader is heard for too long and a majority would vote for this replica, until `stop`.
pub(crate) async fn when_nobody_leads(candidate: Candidate, stop: CancellationToken) {
    let Candidate {
        raft,
        peers,
        log,
        heard,
        able,
        disk,
        lease,
    } = candidate;
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
        let willing = able.is() && !behind && disk.check().is_ok();
        let standing = match disk.writable() {
            Ok(()) => standing(&metrics.borrow(), willing),
            // Who stands writes down that it votes for itself.
            Err(_) => Standing::Out,
        };
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

/// Says no word as a leader while the disk can't be written, until `stop`, so that a replica that can write takes over.
pub(crate) async fn silent_while_read_only(raft: Raft<TypeConfig>, disk: Disk, stop: CancellationToken) {
    let in_turn = async {
        loop {
            disk.turned_read_only().await;
            raft.runtime_config().heartbeat(false);
            disk.turned_writable().await;
            raft.runtime_config().heartbeat(true);
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = in_turn => {}
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
