//! Commands on their way to the leader, and what comes of them. What they say is not known here.

use std::time::Duration;

use async_trait::async_trait;
use chv_domain::{CommandId, Submission};
use chv_proto::client::{Client, CommandError, new_command_id};
use tokio::sync::watch;

/// How long one sending may take, tries included; less than a person's patience, for it is begun again.
const PATIENCE: Duration = Duration::from_secs(10);

/// Refusals of a command's id or its time, not of what it says.
const OF_THE_CLOCK: [&str; 2] = ["clock", "expired"];

/// What came of sending a command once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is in the log, or was there already.
    Accepted,
    /// The leader won't have it; another try gets the same answer.
    Refused {
        /// The stable code.
        code: String,
        /// Why.
        message: String,
    },
    /// Too long on its way, or from a clock that is off: only with a new id can it succeed.
    Outdated(String),
    /// Nobody answered, or not finally; whether it was done is not known.
    Unanswered(String),
}

/// The leader, as far as this daemon speaks to it with commands.
#[async_trait]
pub trait Leader: Send + Sync {
    /// Sends it, and waits some seconds for the answer. Sending the same again is safe: it has its id.
    async fn send(&self, submission: &Submission) -> Answer;

    /// An id that no other command has.
    fn new_id(&self) -> CommandId;
}

/// The leader, reached over NATS, once there is a connection.
#[derive(Debug, Clone)]
pub struct OverNats(pub watch::Receiver<Option<Client>>);

#[async_trait]
impl Leader for OverNats {
    async fn send(&self, submission: &Submission) -> Answer {
        let mut connection = self.0.clone();
        let client = match tokio::time::timeout(PATIENCE, connection.wait_for(Option::is_some)).await {
            Ok(Ok(client)) => client.clone(),
            Ok(Err(_)) | Err(_) => None,
        };
        let Some(client) = client else {
            return Answer::Unanswered("NATS has not been reached yet".to_owned());
        };
        match client.submit(submission, PATIENCE, None).await {
            Ok(_) => Answer::Accepted,
            Err(CommandError::Refused(refusal)) if OF_THE_CLOCK.contains(&refusal.code.as_str()) => {
                Answer::Outdated(refusal.message)
            }
            Err(CommandError::Refused(refusal)) if !refusal.retryable => Answer::Refused {
                code: refusal.code,
                message: refusal.message,
            },
            Err(error @ CommandError::TooLarge { .. }) => Answer::Refused {
                code: "too_large".to_owned(),
                message: error.to_string(),
            },
            Err(error) => Answer::Unanswered(error.to_string()),
        }
    }

    fn new_id(&self) -> CommandId {
        new_command_id()
    }
}
