//! Refusals. A rejection changes nothing, has a code that stays the same from version to version, and a
//! message that says what, where and what to do.

use std::fmt;

/// Why a command was refused. Codes are stable: scripts may depend on their text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RejectionCode {
    /// A field's value is not allowed.
    Invalid,
    /// There is no such resource.
    NotFound,
    /// The name or id is taken.
    Exists,
    /// The resource is not at the revision that the command expects.
    Conflict,
    /// The resource's state does not allow it.
    State,
    /// No host can take the VM.
    NoHost,
    /// This actor may not do that.
    NotPermitted,
    /// The command's deadline has passed.
    Expired,
    /// The command's id is too old to tell a retry from a new command, or from the future.
    Clock,
    /// The reporting host's grant has been superseded.
    StaleEpoch,
    /// The replica id was given before; none is given twice.
    IdUsed,
    /// Another change of the cluster's membership is under way.
    UnderWay,
    /// Too few replicas would answer, or do.
    NoQuorum,
    /// A cluster has at least one replica.
    LastReplica,
    /// Some replica's program could not read what this would record.
    ReplicasTooOld,
}

impl RejectionCode {
    /// Every code.
    pub const ALL: &'static [Self] = &[
        Self::Invalid,
        Self::NotFound,
        Self::Exists,
        Self::Conflict,
        Self::State,
        Self::NoHost,
        Self::NotPermitted,
        Self::Expired,
        Self::Clock,
        Self::StaleEpoch,
        Self::IdUsed,
        Self::UnderWay,
        Self::NoQuorum,
        Self::LastReplica,
        Self::ReplicasTooOld,
    ];

    /// The code's stable text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::Exists => "exists",
            Self::Conflict => "conflict",
            Self::State => "state",
            Self::NoHost => "no_host",
            Self::NotPermitted => "not_permitted",
            Self::Expired => "expired",
            Self::Clock => "clock",
            Self::StaleEpoch => "stale_epoch",
            Self::IdUsed => "id_used",
            Self::UnderWay => "under_way",
            Self::NoQuorum => "no_quorum",
            Self::LastReplica => "last_replica",
            Self::ReplicasTooOld => "replicas_too_old",
        }
    }
}

impl fmt::Display for RejectionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A refused command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    /// The stable code.
    pub code: RejectionCode,
    /// What was refused, why, and what to do.
    pub message: String,
}

impl Rejection {
    /// A refusal.
    pub fn new(code: RejectionCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}
