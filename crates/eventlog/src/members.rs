//! Who holds the log, as Raft has it: looked at, and changed one step at a time by the leader.
//!
//! Which step is due is the caller's to say; Raft makes sure that no step loses what was committed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use chv_domain::ReplicaId;
use openraft::error::{ClientWriteError, RaftError};
use openraft::{BasicNode, ChangeMembers};

use crate::log::EventLog;

/// How long a step may take to be committed.
const STEP: Duration = Duration::from_secs(10);

/// Raft's membership, and how far each replica is, as far as this one knows: only a leader knows the latter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Membership {
    /// Who votes, and where each is reached.
    pub voters: BTreeMap<ReplicaId, SocketAddr>,
    /// Who holds the log without a vote.
    pub learners: BTreeMap<ReplicaId, SocketAddr>,
    /// Whether a change of the voters is half done.
    pub joint: bool,
    /// The last entry that each replica is known to have.
    pub progress: BTreeMap<ReplicaId, u64>,
    /// The last entry of this replica's log.
    pub last: u64,
}

/// Why a step was not taken, as far as is known.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// Another replica leads; it goes on from what it finds.
    #[error("this replica does not lead")]
    NotLeader,
    /// It took too long, and may still be taken.
    #[error("the change was not committed within {} seconds", STEP.as_secs())]
    Timeout,
    /// Raft refused.
    #[error("the membership does not change: {0}")]
    Refused(String),
}

impl EventLog {
    /// Raft's membership as this replica knows it.
    pub fn membership(&self) -> Membership {
        let metrics = self.inner.raft.metrics().borrow().clone();
        let membership = metrics.membership_config.membership();
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let (mut found, replication) = (Membership::default(), metrics.replication.unwrap_or_default());
        for (id, node) in membership.nodes() {
            let (Some(replica), Ok(address)) = (ReplicaId::new(*id), node.addr.parse()) else {
                continue;
            };
            match voters.contains(id) {
                true => found.voters.insert(replica, address),
                false => found.learners.insert(replica, address),
            };
            if let Some(matched) = replication.get(id).copied().flatten() {
                found.progress.insert(replica, matched.index);
            }
        }
        found.joint = membership.get_joint_config().len() > 1;
        found.last = metrics.last_log_index.unwrap_or(0);
        found
    }

    /// Sends the log to `replica` at `address` from now on; it gets no vote.
    pub async fn add_learner(&self, replica: ReplicaId, address: SocketAddr) -> Result<(), MembershipError> {
        let node = BTreeMap::from([(replica.get(), BasicNode::new(address))]);
        self.change(ChangeMembers::AddNodes(node)).await
    }

    /// Makes these the voters; each must hold the log already. A voter that is not among them holds it no more.
    pub async fn change_voters(&self, voters: &BTreeSet<ReplicaId>) -> Result<(), MembershipError> {
        let voters = voters.iter().map(|voter| voter.get()).collect();
        self.change(ChangeMembers::ReplaceAllVoters(voters)).await
    }

    /// Sends the log to `replica`, which has no vote, no more.
    pub async fn remove_learner(&self, replica: ReplicaId) -> Result<(), MembershipError> {
        let learner = BTreeSet::from([replica.get()]);
        self.change(ChangeMembers::RemoveNodes(learner)).await
    }

    async fn change(&self, change: ChangeMembers<u64, BasicNode>) -> Result<(), MembershipError> {
        let changing = self.inner.raft.change_membership(change, false);
        match tokio::time::timeout(STEP, changing).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) => {
                Err(MembershipError::NotLeader)
            }
            Ok(Err(error)) => Err(MembershipError::Refused(error.to_string())),
            Err(_) => Err(MembershipError::Timeout),
        }
    }
}
