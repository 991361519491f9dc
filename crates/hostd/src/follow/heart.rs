//! The heartbeat: tells the leader that this host lives and how far it has followed, and registers the host
//! whenever the leader doesn't know it as it is. A leader of another cluster than this host's gets no more than
//! heartbeats.

use std::time::Duration;

use chv_domain::{Actor, Command, HostFacts, LeaseDuration, Seq, Submission};
use chv_proto::client::QueryError;
use chv_proto::convert::VERSION;
use chv_proto::v1;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use super::Follower;
use crate::cluster::{Kin, Membership};
use crate::leader::Answer;
use crate::lease::{self, Grant};

/// Between two heartbeats.
const EVERY: Duration = Duration::from_secs(1);

/// How long the leader may take to answer one.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// What a heartbeat's answer says to those who follow.
#[derive(Debug)]
pub(super) enum Heard {
    /// The leader of this host's cluster is so far.
    At(Seq),
    /// It is another cluster's leader: nothing that comes counts.
    Foreign,
}

/// One host's heart.
struct Heart<'a> {
    follower: &'a Follower,
    membership: Membership,
    /// What the leader knows of this host.
    registered: Option<HostFacts>,
    /// Why it was last not registered; each reason is said once.
    refused: Option<String>,
    silence: Option<Silence>,
    foreign: bool,
}

/// Why there is no answer to go by; each is said once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Silence {
    NoAnswer,
    Unreadable,
}

/// Beats for ever. Every answer goes to `heard`.
pub(super) async fn beat(follower: &Follower, position: watch::Receiver<Seq>, heard: mpsc::Sender<Heard>) {
    let mut facts = follower.facts.clone();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heart = Heart {
        follower,
        membership: follower.membership.clone(),
        registered: None,
        refused: None,
        silence: None,
        foreign: false,
    };
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            Ok(()) = facts.changed() => {}
        }
        let now = facts.borrow_and_update().clone();
        let reached = *position.borrow();
        if let Some(said) = heart.once(&now, reached).await
            && heard.send(said).await.is_err()
        {
            return;
        }
    }
}

impl Heart<'_> {
    /// One heartbeat, and the registration when there has to be one. `None` when there is nothing to go by.
    async fn once(&mut self, facts: &HostFacts, reached: Seq) -> Option<Heard> {
        // Before it is sent, and sent again: the lease counts from here.
        let mut sent = lease::now();
        let mut reply = self.one(reached).await?;
        let kin = self.membership.kin(&reply.cluster);
        self.judged(kin, &reply.cluster);
        if kin == Kin::Foreign {
            self.registered = None;
            return Some(Heard::Foreign);
        }
        if !reply.registered {
            self.registered = None;
        }
        if self.registered.as_ref() != Some(facts) && self.register(facts).await && self.joined(kin).await {
            self.registered = Some(facts.clone());
            // It has changed what the leader says.
            sent = lease::now();
            reply = self.one(reached).await?;
        }
        // A host that isn't known to be of this cluster does nothing for it yet.
        let ours = self.membership.kin(&reply.cluster) == Kin::Ours;
        if !ours {
            return None;
        }
        // None is granted while this host's VMs are being placed elsewhere.
        if let Ok(granted) = LeaseDuration::new(Duration::from_millis(reply.lease_ms)) {
            let (lease, feed) = (granted, Seq(reply.feed));
            self.follower.lease.granted(Grant { sent, lease, feed }).await;
        }
        Some(Heard::At(Seq(reply.feed)))
    }

    async fn one(&mut self, position: Seq) -> Option<v1::HeartbeatReply> {
        match ask(self.follower, position).await {
            Ok(reply) => {
                if self.silence.take().is_some() {
                    tracing::info!(term = reply.term, "the leader answers again");
                }
                Some(reply)
            }
            Err(error) => {
                self.silent(&error);
                None
            }
        }
    }

    fn silent(&mut self, error: &QueryError) {
        let why = match error {
            QueryError::Protocol { .. } => Silence::Unreadable,
            _ => Silence::NoAnswer,
        };
        if self.silence.replace(why) == Some(why) {
            return;
        }
        match why {
            Silence::NoAnswer => tracing::warn!(
                %error,
                "no leader answers; guests run on, and what is known to be wanted is kept so"
            ),
            Silence::Unreadable => tracing::error!(
                %error,
                "the leader's answers can't be read here: start a version of chv-hostd that reads them; guests run on, \
                 those that ask for failover until the host's lease ends"
            ),
        }
    }

    /// Reports reach a leader of this host's cluster alone: another one would refuse them for good.
    fn judged(&mut self, kin: Kin, named: &str) {
        let foreign = kin == Kin::Foreign;
        self.follower.connection.send_if_modified(|connection| {
            let change = connection.is_some() == foreign;
            if change {
                *connection = (!foreign).then(|| self.follower.client.clone());
            }
            change
        });
        if foreign && !self.foreign {
            let ours = self.membership.known().map(|known| known.to_string());
            tracing::error!(
                ours,
                theirs = named,
                "the leader is of another cluster: this host does nothing that it wants, and guests run on; check \
                 --nats, or, to give this host to that cluster, end its guests and start with an empty --data"
            );
        }
        if !foreign && self.foreign {
            tracing::info!("the leader is of this host's cluster again");
        }
        self.foreign = foreign;
    }

    /// Notes the cluster that this host has registered with, when it is the first.
    async fn joined(&mut self, kin: Kin) -> bool {
        let Kin::New(cluster) = kin else { return true };
        match self.membership.join(cluster).await {
            Ok(()) => {
                tracing::info!(%cluster, "this host is of this cluster from now on");
                true
            }
            Err(error) => {
                self.once_only(
                    "cluster",
                    &format!("the cluster can't be noted in --data: {error}"),
                );
                false
            }
        }
    }

    async fn register(&mut self, facts: &HostFacts) -> bool {
        let follower = self.follower;
        let submission = Submission::new(
            follower.leader.new_id(),
            Actor::Host(follower.name.clone()),
            Command::RegisterHost {
                host: follower.id,
                facts: facts.clone(),
            },
        );
        match follower.leader.send(&submission).await {
            Answer::Accepted => {
                tracing::info!(host = %follower.name, id = %follower.id, "registered");
                self.refused = None;
                return true;
            }
            Answer::Refused { code, message } => self.once_only(&code, &message),
            Answer::Outdated(why) => self.once_only("clock", &why),
            Answer::Unanswered(why) => tracing::debug!(why, "not registered yet"),
        }
        false
    }

    /// Says why the host is not registered, unless that was what it said last. Texts name times: codes are compared.
    fn once_only(&mut self, code: &str, message: &str) {
        if self.refused.as_deref() != Some(code) {
            tracing::warn!(
                code,
                message,
                "this host is not registered; tried again until it is"
            );
            self.refused = Some(code.to_owned());
        }
    }
}

async fn ask(follower: &Follower, position: Seq) -> Result<v1::HeartbeatReply, QueryError> {
    let heartbeat = v1::Heartbeat {
        host: follower.id.to_string(),
        feed: position.0,
        version: VERSION,
    };
    follower
        .client
        .heartbeat(&follower.name, heartbeat, ANSWER_LIMIT)
        .await
}
