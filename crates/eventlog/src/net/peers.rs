//! How this replica calls the others, and what it asks them that Raft does not.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chv_domain::{Introduction, ReplicaId};
use openraft::network::RaftNetworkFactory;
use openraft::{BasicNode, Raft, RaftMetrics};
use tokio::sync::watch;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::dial::dial;
use super::disks::Disks;
use super::frame::{receive, send};
use super::greeting::Greeting;
use super::message::{Answer, Ask, Request, Told, WouldVote};
use super::peer::Peer;
use super::reach::{Answered, Away};
use super::security::Security;
use super::spare::Spares;
use crate::disks::Troubles;
use crate::elect::Opinion;
use crate::raft::log_storage::LogStorage;
use crate::raft::{LogId, TypeConfig};

/// How long a replica may take to say whether it takes over.
const TAKE_OVER: Duration = Duration::from_millis(500);

/// How this replica calls the others; where each is, the membership says.
#[derive(Clone)]
pub(crate) struct Peers {
    pub(super) greeting: Greeting,
    pub(super) security: Security,
    pub(super) log: LogStorage,
    pub(super) away: Away,
    pub(super) answered: Answered,
    pub(super) disks: Disks,
    pub(super) spares: Spares,
    members: Arc<OnceLock<watch::Receiver<RaftMetrics<u64, BasicNode>>>>,
}

/// What a replica says when it is asked to take over.
pub(crate) enum TakeOver {
    /// It stands for election now.
    Stands,
    /// It does not, and why.
    Declines(String),
}

impl Peers {
    pub(crate) fn new(greeting: Greeting, security: Security, log: LogStorage) -> Self {
        Self {
            greeting,
            security,
            log,
            away: Away::default(),
            answered: Answered::default(),
            disks: Disks::default(),
            spares: Spares::default(),
            members: Arc::default(),
        }
    }

    /// The other replicas, as Raft's membership has them.
    pub(crate) fn others(&self) -> Vec<(ReplicaId, BasicNode)> {
        let Some(metrics) = self.members.get() else {
            return Vec::new();
        };
        let metrics = metrics.borrow();
        let nodes = metrics.membership_config.nodes();
        nodes
            .filter_map(|(id, node)| Some((ReplicaId::new(*id)?, node.clone())))
            .filter(|(replica, _)| *replica != self.greeting.identity.replica)
            .collect()
    }

    /// Whether the replica `voter` would vote for this one, whose log ends at `last`.
    pub(crate) async fn would_vote(
        &self,
        voter: u64,
        node: &BasicNode,
        last: Option<LogId>,
        patience: Duration,
    ) -> io::Result<Opinion> {
        let mut peer = self.peer(voter, node);
        let asking = peer.ask(Ask::WouldVote(WouldVote::of(last)), patience);
        match tokio::time::timeout(patience, asking).await?? {
            Told::WouldVote(opinion) => Ok(opinion.into()),
            _ => Err(io::Error::other("an answer to another question")),
        }
    }

    /// Knows the others by `raft` from now on.
    pub(crate) fn follow(&self, raft: &Raft<TypeConfig>) {
        // Called once, at the start.
        let _ = self.members.set(raft.metrics());
    }

    /// What the replicas said of themselves, this one among them.
    pub(crate) fn introductions(&self) -> BTreeMap<ReplicaId, Introduction> {
        self.greeting.told()
    }

    /// The replicas that answered within the last seconds.
    pub(crate) fn answering(&self) -> BTreeSet<ReplicaId> {
        self.answered.lately()
    }

    /// What the others said of their disks within the last seconds, of those that have trouble with them. Only a leader is
    /// told by all of them.
    pub(crate) fn troubles(&self) -> Troubles {
        self.disks.lately()
    }

    /// Asks `heir`, which has the log up to `last`, to stand for election.
    pub(crate) async fn take_over(
        &self,
        heir: ReplicaId,
        address: &str,
        last: LogId,
    ) -> io::Result<TakeOver> {
        let address = address.parse().map_err(io::Error::other)?;
        let asking = async {
            let mut connection = dial(self.greeting.clone(), self.security.clone(), heir, address).await?;
            let ask = Some(Ask::TakeOver(last.into()));
            send(&mut connection.stream, &Request { ask }).await?;
            receive::<Answer>(&mut connection.stream).await
        };
        let answer = tokio::time::timeout(TAKE_OVER, asking)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        match answer.told {
            Some(Told::TakeOver(declined)) if declined.is_empty() => Ok(TakeOver::Stands),
            Some(Told::TakeOver(why) | Told::Failed(why)) => Ok(TakeOver::Declines(why)),
            _ => Err(io::Error::other("an answer to another question")),
        }
    }

    /// The same. Whoever waits for the token's tasks waits until all that this calls with is dropped.
    pub(crate) fn held(self, token: TaskTrackerToken) -> Self {
        let log = self.log.held(token);
        Self { log, ..self }
    }

    /// What calls one of the others; it connects when it has something to say.
    pub(crate) fn peer(&self, target: u64, node: &BasicNode) -> Peer {
        Peer::new(self.clone(), target, node.addr.parse().ok())
    }
}

impl RaftNetworkFactory<TypeConfig> for Peers {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Peer {
        self.peer(target, node)
    }
}
