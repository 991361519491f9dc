//! The cluster itself: which replicas should hold its log, and what is set for all of them.
//!
//! The log's own membership follows what is wanted here; the leader sees to it, one change at a time, and
//! reports what became so. A new setting of the cluster gets its field in [`Cluster`].

use std::collections::BTreeSet;
use std::net::SocketAddr;

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

use crate::format::FIRST_FORMAT;
use crate::ids::{DirectoryId, ReplicaId};
use crate::retention::{Forgotten, Retention};
use crate::seq::{Seq, Term};
use crate::time::Timestamp;

/// What is wanted of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// The last event about it; [`Seq::ZERO`] before there was one.
    pub revision: Seq,
    pub(crate) members: OrdMap<ReplicaId, Member>,
    pub(crate) left: OrdSet<ReplicaId>,
    pub(crate) step_down: Option<Term>,
    pub(crate) retention: Retention,
    pub(crate) forgotten: Option<Forgotten>,
    /// 0 until it was raised for the first time.
    pub(crate) format: u32,
}

/// A replica that belongs to the cluster, or is on its way in or out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Where the other replicas reach it.
    pub address: SocketAddr,
    /// How it stands.
    pub standing: Standing,
    /// Since when it stands so.
    pub since: Timestamp,
    /// Its data directory, once a leader has heard of it. Under another one its number counts for nothing.
    pub directory: Option<DirectoryId>,
}

/// What a replica says of itself when it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Introduction {
    /// Its data directory.
    pub directory: DirectoryId,
    /// The highest record format that it reads.
    pub format: u32,
}

/// How a replica stands to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It should vote once its log has caught up.
    Joining {
        /// The voter that leaves at that moment.
        instead_of: Option<ReplicaId>,
    },
    /// It votes.
    Voting,
    /// It should hold the log no more.
    Leaving,
}

impl Standing {
    /// In one word, for people and programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Joining { .. } => "joining",
            Self::Voting => "voting",
            Self::Leaving => "leaving",
        }
    }
}

impl Cluster {
    /// Whether the first leader has recorded who the replicas are.
    pub fn is_formed(&self) -> bool {
        !self.members.is_empty()
    }

    /// Every replica that belongs to it, or is on its way in or out.
    pub fn members(&self) -> impl Iterator<Item = (ReplicaId, &Member)> {
        self.members.iter().map(|(replica, member)| (*replica, member))
    }

    /// A replica that belongs to it, or is on its way in or out.
    pub fn member(&self, replica: ReplicaId) -> Option<&Member> {
        self.members.get(&replica)
    }

    /// The replicas that left. None of them comes back under its old id.
    pub fn left(&self) -> impl Iterator<Item = ReplicaId> {
        self.left.iter().copied()
    }

    /// Whether a replica had this id before and left.
    pub fn has_left(&self, replica: ReplicaId) -> bool {
        self.left.contains(&replica)
    }

    /// A replica that is on its way in or out. There is one change at a time.
    pub fn under_way(&self) -> Option<(ReplicaId, &Member)> {
        self.members()
            .find(|(_, member)| member.standing != Standing::Voting)
    }

    /// Who should vote once nothing is under way any more.
    pub fn voters(&self) -> BTreeSet<ReplicaId> {
        let replaced: BTreeSet<_> = self
            .members()
            .filter_map(|(_, member)| match member.standing {
                Standing::Joining { instead_of } => instead_of,
                Standing::Voting | Standing::Leaving => None,
            })
            .collect();
        self.members()
            .filter(|(replica, member)| member.standing != Standing::Leaving && !replaced.contains(replica))
            .map(|(replica, _)| replica)
            .collect()
    }

    /// The highest format of records that may be written: each replica has said that it reads it.
    pub const fn format(&self) -> u32 {
        match self.format {
            0 => FIRST_FORMAT,
            format => format,
        }
    }

    /// The last term whose leader was asked to step down.
    pub const fn step_down(&self) -> Option<Term> {
        self.step_down
    }

    /// How much of history is kept.
    pub const fn retention(&self) -> Retention {
        self.retention
    }

    /// What was forgotten of it; `None` while all of it is kept.
    pub const fn forgotten(&self) -> Option<Forgotten> {
        self.forgotten
    }

    /// The first event that is kept.
    pub fn oldest_kept(&self) -> Seq {
        self.forgotten.map_or(Seq(1), |forgotten| forgotten.upto.next())
    }
}

/// What the leader knows about the replicas besides the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replicas {
    /// The leader itself.
    pub leader: ReplicaId,
    /// The others that answered it lately.
    pub answering: BTreeSet<ReplicaId>,
}

impl Replicas {
    /// A leader that no other replica answers, or that has none.
    pub const fn alone(leader: ReplicaId) -> Self {
        Self {
            leader,
            answering: BTreeSet::new(),
        }
    }

    /// Whether `replica` is the leader or answers it.
    pub fn is_there(&self, replica: ReplicaId) -> bool {
        replica == self.leader || self.answering.contains(&replica)
    }
}
