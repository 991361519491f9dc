//! What a replica says of itself.

use chv_domain::{ReplicaId, Term};

use crate::index::IndexHealth;

/// What a replica is in Raft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It leads.
    Leader,
    /// It follows.
    Follower,
    /// It stands for election.
    Candidate,
    /// It follows, and has no vote.
    Learner,
    /// It is ending.
    Shutdown,
}

impl Role {
    /// In one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Candidate => "candidate",
            Self::Learner => "learner",
            Self::Shutdown => "shutdown",
        }
    }
}

/// A replica's state.
#[derive(Debug, Clone)]
pub struct Status {
    /// What it is.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// The leader that it knows.
    pub leader: Option<ReplicaId>,
    /// The last entry of its log; 0 for none.
    pub last_log_index: u64,
    /// The last entry that it applied; 0 for none.
    pub applied_index: u64,
    /// Who votes.
    pub voters: Vec<ReplicaId>,
    /// How the index of events is.
    pub index: IndexHealth,
}
