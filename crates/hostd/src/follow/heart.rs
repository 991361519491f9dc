//! The heartbeat: tells the leader that this host lives and how far it has followed, and registers the host
//! whenever the leader doesn't know it as it is.

use std::time::Duration;

use chv_domain::{Actor, Command, HostFacts, Seq, Submission};
use chv_proto::client::QueryError;
use chv_proto::v1;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use super::Follower;
use crate::leader::Answer;

/// Between two heartbeats.
const EVERY: Duration = Duration::from_secs(1);

/// How long the leader may take to answer one.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Beats for ever. Every answer goes to `heard`.
pub(super) async fn beat(
    follower: &Follower,
    position: watch::Receiver<Seq>,
    heard: mpsc::Sender<v1::HeartbeatReply>,
) {
    let mut facts = follower.facts.clone();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut registered: Option<HostFacts> = None;
    let mut answered = true;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            Ok(()) = facts.changed() => {}
        }
        let now = facts.borrow_and_update().clone();
        if registered.as_ref() != Some(&now) && register(follower, &now).await {
            registered = Some(now);
        }
        let reached = *position.borrow();
        match one(follower, reached).await {
            Ok(reply) => {
                if !answered {
                    tracing::info!(term = reply.term, "the leader answers again");
                }
                answered = true;
                if !reply.registered {
                    registered = None;
                }
                if heard.send(reply).await.is_err() {
                    return;
                }
            }
            Err(error) if answered => {
                tracing::warn!(
                    %error,
                    "no leader answers; guests run on, and what is known to be wanted is kept so"
                );
                answered = false;
            }
            Err(_) => {}
        }
    }
}

async fn one(follower: &Follower, position: Seq) -> Result<v1::HeartbeatReply, QueryError> {
    let heartbeat = v1::Heartbeat {
        host: follower.id.to_string(),
        feed: position.0,
    };
    follower
        .client
        .heartbeat(&follower.name, heartbeat, ANSWER_LIMIT)
        .await
}

async fn register(follower: &Follower, facts: &HostFacts) -> bool {
    let submission = Submission {
        id: follower.leader.new_id(),
        actor: Actor::Host(follower.name.clone()),
        command: Command::RegisterHost {
            host: follower.id,
            facts: facts.clone(),
        },
        expected: None,
        deadline: None,
        trace: None,
        follows: None,
    };
    match follower.leader.send(&submission).await {
        Answer::Accepted => {
            tracing::info!(host = %follower.name, id = %follower.id, "registered");
            true
        }
        Answer::Refused { code, message } => {
            tracing::error!(code, message, "the leader does not register this host");
            false
        }
        Answer::Outdated(why) | Answer::Unanswered(why) => {
            tracing::debug!(why, "not registered yet");
            false
        }
    }
}
