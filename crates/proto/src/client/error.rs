//! Why a question has no answer, or not the wanted one.

use std::fmt;
use std::time::Duration;

use chv_domain::{CommandId, HostName};

use super::Waiting;
use crate::v1;

/// A refusal, as the one who was asked put it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The stable code.
    pub code: String,
    /// What was refused, why, and what to do.
    pub message: String,
    /// The field at fault, as a path.
    pub field: Option<String>,
    /// Whether the same message may succeed later.
    pub retryable: bool,
    /// How long to wait before that.
    pub retry_after: Duration,
}

impl From<v1::Refused> for Refusal {
    fn from(refused: v1::Refused) -> Self {
        Self {
            code: refused.code,
            message: refused.message,
            field: (!refused.field.is_empty()).then_some(refused.field),
            retryable: refused.retryable,
            retry_after: Duration::from_millis(refused.retry_after_ms.into()),
        }
    }
}

/// Who is to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    /// The leading replica.
    Leader,
    /// Any replica.
    Replica,
    /// A host's daemon.
    Host(HostName),
}

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leader => f.write_str("leader of chv-scheduler"),
            Self::Replica => f.write_str("replica of chv-scheduler"),
            Self::Host(name) => write!(f, "chv-hostd of host {name}"),
        }
    }
}

/// Why a command was not done, or why that is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Refused; nothing changed.
    #[error(transparent)]
    Refused(Refusal),
    /// NATS is there, but no leader. The command was not done.
    #[error(
        "NATS is there, but no leader of chv-scheduler answered within {waited:?}{}", replicas_in_words(.replicas)
    )]
    NoLeader {
        /// How long it was waited for.
        waited: Duration,
        /// How many replicas are there without one of them leading; `None` when that is not known.
        replicas: Option<usize>,
    },
    /// NATS is not reached. The command was not done.
    #[error("NATS at {url} has not been reached for {waited:?}; is nats-server running?")]
    Unreachable {
        /// Where.
        url: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// NATS was lost, and does not let the user in again. Whether a command that was on its way then was
    /// done is not known.
    #[error("NATS at {url} does not let {user:?} in any more")]
    ShutOut {
        /// Where.
        url: String,
        /// Who.
        user: String,
    },
    /// NATS does not permit the user to publish on the subject. The command was not done.
    #[error("NATS does not permit {user:?} to publish on {subject}")]
    NotPermitted {
        /// Who.
        user: String,
        /// The command's subject.
        subject: String,
    },
    /// The command is too large, and was not sent.
    #[error("the command has {size} bytes, more than the {max} that are taken; make it smaller")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The largest that is taken.
        max: usize,
    },
    /// The time was over before its turn to be sent came. The command was not done.
    #[error("command {id} was not sent: the {waited:?} were over before its turn came")]
    NotSent {
        /// The command.
        id: CommandId,
        /// How long all of them had.
        waited: Duration,
    },
    /// It is not known whether the command was done. Asked again with the same id, within an hour, it is
    /// done once at most, and the answer is the first one.
    #[error(
        "command {id} has no answer after {waited:?} ({waiting}), and may or may not have been done; send it again with the same id to learn"
    )]
    TimedOut {
        /// The command.
        id: CommandId,
        /// How long it was waited for.
        waited: Duration,
        /// What was waited for last.
        waiting: Waiting,
    },
    /// The answer can't be read, so it is not known whether the command was done.
    #[error("the answer to a command can't be read: {0}; do this program and chv-scheduler fit together?")]
    Protocol(String),
}

fn replicas_in_words(replicas: &Option<usize>) -> String {
    match replicas {
        None => String::new(),
        Some(0) => "; no replica answers either: is chv-scheduler running?".to_owned(),
        Some(count) => {
            format!("; {count} replicas answer, none of which leads: more than half of all must run")
        }
    }
}

/// Why a question has no answer. Nothing was to change, so nothing did.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Refused.
    #[error(transparent)]
    Refused(Refusal),
    /// NATS is there, but nobody who could answer.
    #[error("NATS is there, but no {whom} answered within {waited:?}; is it running?")]
    NobodyAnswers {
        /// Who was asked.
        whom: Whom,
        /// How long it was waited for.
        waited: Duration,
    },
    /// NATS is not reached.
    #[error("NATS at {url} has not been reached for {waited:?}; is nats-server running?")]
    Unreachable {
        /// Where.
        url: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// NATS was lost, and does not let the user in again.
    #[error("NATS at {url} does not let {user:?} in any more")]
    ShutOut {
        /// Where.
        url: String,
        /// Who.
        user: String,
    },
    /// NATS does not permit the user to publish on the subject.
    #[error("NATS does not permit {user:?} to publish on {subject}")]
    NotPermitted {
        /// Who.
        user: String,
        /// The question's subject.
        subject: String,
    },
    /// The question is too large, and was not sent.
    #[error("the question has {size} bytes, more than the {max} that NATS takes; make it smaller")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The largest that is taken.
        max: usize,
    },
    /// Asked, and not answered.
    #[error("no answer on {subject} within {waited:?}; try again")]
    TimedOut {
        /// The question's subject.
        subject: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The answer can't be read.
    #[error(
        "the answer on {subject} can't be read: {problem}; do this program and the one that answered fit together?"
    )]
    Protocol {
        /// The question's subject.
        subject: String,
        /// What is wrong.
        problem: String,
    },
}
