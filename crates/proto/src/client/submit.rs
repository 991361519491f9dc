//! Commands: sent to the leader, and answered once.

use std::time::Duration;

use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use chv_domain::{Actor, CommandId, Submission};
use prost::Message as _;

use super::ask::{Progress, Question, Unanswered, Verdict};
use super::error::{CommandError, Refusal, Whom};
use super::{Client, QueryError, Waiting};
use crate::convert::{VERSION, encode_submission};
use crate::subject::{self, MAX_COMMAND_BYTES};
use crate::v1;

/// How long replicas are waited for to be counted when none of them leads.
const COUNTING: Duration = Duration::from_millis(500);

impl Client {
    /// Sends a command on its actor's subject and waits for the answer.
    ///
    /// It is sent again with the same id when no leader is there, when the broker was lost and is back,
    /// when no answer comes or one that says to try later, until `patience` is over; the first answer to
    /// any of those counts, so it is done once at most. `progress` hears what is waited for whenever that
    /// changes.
    pub async fn submit(
        &self,
        submission: &Submission,
        patience: Duration,
        progress: Progress<'_>,
    ) -> Result<v1::Accepted, CommandError> {
        self.submit_again(submission, false, patience, progress).await
    }

    /// Sends a command that was sent before, perhaps; `in_doubt` when one of those attempts may have been taken on.
    pub(super) async fn submit_again(
        &self,
        submission: &Submission,
        in_doubt: bool,
        patience: Duration,
        progress: Progress<'_>,
    ) -> Result<v1::Accepted, CommandError> {
        let subject = subject::command_of(&submission.actor, submission.command.verb());
        let payload = Bytes::from(encode_submission(submission).encode_to_vec());
        if payload.len() > MAX_COMMAND_BYTES {
            return Err(CommandError::TooLarge {
                size: payload.len(),
                max: MAX_COMMAND_BYTES,
            });
        }
        let mut headers = HeaderMap::new();
        if let Some(trace) = submission.trace {
            headers.insert("traceparent", trace.to_string());
        }
        let question = Question {
            subject,
            headers,
            payload,
            whom: Whom::Leader,
            patience,
            answer_may_take: Duration::ZERO,
            again: true,
        };
        match self
            .ask(question, |message| judge(message, submission.id), progress)
            .await
        {
            Ok(answer) => answer.map_err(CommandError::Refused),
            Err(unanswered) => {
                let unanswered = unanswered.doubted(in_doubt);
                let replicas = self.count_replicas(&unanswered, &submission.actor).await;
                Err(self.command_error(unanswered, submission, patience, replicas))
            }
        }
    }

    /// What it means for a command that there is no answer. `replicas` is how many there are, where that is known.
    pub(super) fn command_error(
        &self,
        unanswered: Unanswered,
        submission: &Submission,
        waited: Duration,
        replicas: Option<usize>,
    ) -> CommandError {
        let (user, url, id) = (self.user().to_owned(), self.url().to_owned(), submission.id);
        match unanswered {
            Unanswered::NotPermitted => CommandError::NotPermitted {
                user,
                subject: subject::command_of(&submission.actor, submission.command.verb()),
            },
            Unanswered::ShutOut => CommandError::ShutOut { url, user },
            Unanswered::TooLarge { size, max } => CommandError::TooLarge { size, max },
            Unanswered::Garbled(problem) => CommandError::Protocol(problem),
            Unanswered::Late {
                waiting,
                maybe_heard: true,
            } => CommandError::TimedOut { id, waited, waiting },
            Unanswered::Late { waiting, .. } => match waiting {
                Waiting::NextTry(refusal) => CommandError::Refused(refusal),
                Waiting::Broker => CommandError::Unreachable { url, waited },
                Waiting::Listener(_) | Waiting::Answer(_) => CommandError::NoLeader { waited, replicas },
            },
        }
    }

    /// How many replicas there are, where that explains why nobody answered.
    pub(super) async fn count_replicas(&self, unanswered: &Unanswered, actor: &Actor) -> Option<usize> {
        match (unanswered, actor) {
            (
                Unanswered::Late {
                    waiting: Waiting::Listener(_) | Waiting::Answer(_),
                    maybe_heard: false,
                },
                Actor::User(_),
            ) => self.replicas_there().await,
            // Hosts and replicas may not ask.
            _ => None,
        }
    }

    async fn replicas_there(&self) -> Option<usize> {
        match self.status_of_each(COUNTING, false).await {
            Ok(replicas) => Some(replicas.len()),
            Err(QueryError::NobodyAnswers { .. }) => Some(0),
            Err(_) => None,
        }
    }
}

/// What came of one command.
pub(super) type Reply = Result<v1::Accepted, Refusal>;

fn judge(message: &Message, id: CommandId) -> Verdict<Reply> {
    let reply = match v1::CommandReply::decode(message.payload.as_ref()) {
        Ok(reply) => reply,
        Err(error) => return Verdict::Garbled(error.to_string()),
    };
    match read_reply(reply, id) {
        Err(problem) => Verdict::Garbled(problem),
        Ok(Err(refusal)) if refusal.retryable => Verdict::Later {
            nothing_done: nothing_done(&refusal),
            refusal,
        },
        Ok(answer) => Verdict::Final(answer),
    }
}

/// Whether it is sure that a command that was refused for now was not done, and won't be: the other refusals may come
/// from a leader that lost its office with the command in hand.
pub(super) fn nothing_done(refusal: &Refusal) -> bool {
    ["busy", "disk_full", "disk_read_only"].contains(&refusal.code.as_str())
}

/// What the reply says of command `id`, or why it says nothing.
pub(super) fn read_reply(reply: v1::CommandReply, id: CommandId) -> Result<Reply, String> {
    if reply.version != VERSION {
        return Err(format!("it has version {}", reply.version));
    }
    match reply.result {
        Some(v1::command_reply::Result::Accepted(accepted)) if reply.id == id.to_string() => Ok(Ok(accepted)),
        // Refusals of what could not be read come without an id.
        Some(v1::command_reply::Result::Refused(refused))
            if reply.id.is_empty() || reply.id == id.to_string() =>
        {
            Ok(Err(Refusal::from(refused)))
        }
        Some(_) => Err(format!("it is about command {:?}, not {id}", reply.id)),
        None => Err("it says nothing".to_owned()),
    }
}
