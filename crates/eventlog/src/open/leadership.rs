//! Who leads, as the scheduler is told it.

use std::sync::PoisonError;
use std::time::Instant;

use chv_domain::{ReplicaId, Term};
use openraft::{Raft, ServerState};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::log::{Elected, Leadership};
use crate::raft::{LogId, TypeConfig, Vote};

/// Tells who leads, whenever that changes.
pub(super) async fn watch_leadership(
    raft: Raft<TypeConfig>,
    replica: ReplicaId,
    mut applied: watch::Receiver<Option<LogId>>,
    mut heard: watch::Receiver<Option<Vote>>,
    told: watch::Sender<Leadership>,
    elected: Elected,
    stop: CancellationToken,
) {
    let mut metrics = raft.server_metrics();
    loop {
        let now = {
            let metrics = metrics.borrow_and_update();
            let leader = metrics.current_leader.and_then(ReplicaId::new);
            let term = Term(metrics.vote.leader_id.term);
            let later = heard.borrow_and_update().filter(|heard| *heard > metrics.vote);
            match metrics.state {
                // Raft could not be told of it yet.
                _ if let Some(later) = later => Leadership::Follower {
                    leader: ReplicaId::new(later.leader_id.node_id),
                },
                ServerState::Leader if leader == Some(replica) => {
                    // Several leaders may follow each other in one term, so the entry's leader is looked at too.
                    let own = |applied: LogId| {
                        applied.leader_id.term == term.0 && applied.leader_id.node_id == replica.get()
                    };
                    let ready = applied.borrow_and_update().is_some_and(own);
                    Leadership::Leader { term, ready }
                }
                _ => Leadership::Follower {
                    leader: leader.filter(|leader| *leader != replica),
                },
            }
        };
        if let Leadership::Leader { term, .. } = now {
            let mut elected = elected.lock().unwrap_or_else(PoisonError::into_inner);
            if elected.is_none_or(|(of, _)| of != term.0) {
                *elected = Some((term.0, Instant::now()));
            }
        }
        told.send_if_modified(|known| std::mem::replace(known, now) != now);
        let settled = !matches!(now, Leadership::Leader { ready: false, .. });
        tokio::select! {
            () = stop.cancelled() => break,
            changed = metrics.changed() => if changed.is_err() { break },
            changed = heard.changed() => if changed.is_err() { break },
            // What is applied matters only until the leader is ready.
            changed = applied.changed(), if !settled => if changed.is_err() { break },
        }
    }
    told.send_replace(Leadership::Follower { leader: None });
}
