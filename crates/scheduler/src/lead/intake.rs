//! The way in: a message becomes a submission in the bounded queue, or is refused at once.
//!
//! The sender is the subject's, which the broker's permissions tie to one user, and an answer goes only to
//! that user's inbox: otherwise a command could make the scheduler write to any subject.

use std::sync::Arc;

use chv_domain::{Actor, Submission};
use chv_proto::convert::{self, DecodeError};
use chv_proto::{subject, v1};
use futures::{StreamExt, stream};
use prost::Message as _;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tracing::{Instrument as _, Span, debug, info_span, warn};

use super::Office;
use crate::answer::TryAgain;
use crate::connection::SubscribeError;

/// A command that waits to be decided.
pub(crate) struct Waiting {
    pub(crate) submission: Submission,
    pub(crate) answer: oneshot::Sender<Answer>,
    /// The command's span; deciding and committing are its children.
    pub(crate) span: Span,
    /// How large its message was, in bytes.
    pub(crate) bytes: usize,
    /// Its share of what all commands that wait may take up; given back when it is dropped.
    pub(crate) _room: OwnedSemaphorePermit,
}

/// How much all commands that wait may take up, in KiB.
pub(super) const ROOM_KIB: usize = 64 << 10;

/// What is sent back.
pub(crate) type Answer = Result<v1::Accepted, v1::Refused>;

/// Where a message came from, by its subject.
struct Sender {
    actor: Actor,
    inbox: String,
    verb: String,
}

pub(super) async fn run(office: Office, queue: mpsc::Sender<Waiting>) -> Result<(), SubscribeError> {
    let users = office.reader.connection.subscribe(subject::COMMANDS).await?;
    let registrations = office
        .reader
        .connection
        .subscribe(subject::HOST_REGISTRATIONS)
        .await?;
    let reports = office.reader.connection.subscribe(subject::HOST_REPORTS).await?;
    let mut messages = stream::select(users, stream::select(registrations, reports));
    loop {
        tokio::select! {
            () = office.stop.cancelled() => return Ok(()),
            message = messages.next() => match message {
                Some(message) => take(&office, &queue, message).await,
                None => return Ok(()),
            },
        }
    }
}

async fn take(office: &Office, queue: &mpsc::Sender<Waiting>, message: async_nats::Message) {
    let Some(sender) = sender(&message.subject) else {
        debug!(subject = %message.subject, "a message on no command's subject");
        return;
    };
    let inbox = message.reply.as_ref().map(ToString::to_string);
    let (id, decoded) = read(&message, &sender);
    let foreign = inbox
        .as_ref()
        .is_some_and(|inbox| !subject::is_inbox_of(&sender.inbox, inbox));
    if foreign {
        warn!(actor = %sender.actor, reply = ?inbox, "a command asks for its answer elsewhere than in its sender's inbox");
        let prefix = subject::inbox_prefix(&sender.inbox);
        let message = format!("answers go to {prefix}.> only; set the client's inbox prefix to {prefix}");
        let refused = convert::refused("bad_reply_subject", message, "");
        let to = format!("{prefix}.refused");
        reply(office, to, id, Err(refused)).await;
        return;
    }
    let submission = match decoded {
        Ok(submission) => submission,
        Err(refused) => return reply_if_asked(office, inbox, id, Err(refused)).await,
    };
    let span = span(&submission);
    let submission = Submission {
        trace: span.in_scope(chv_telemetry::current).or(submission.trace),
        ..submission
    };
    let bytes = message.payload.len();
    let share = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
    let Ok(room) = Arc::clone(&office.room).try_acquire_many_owned(share) else {
        return reply_if_asked(office, inbox, id, Err(TryAgain::Busy.refused())).await;
    };
    let (answer, answered) = oneshot::channel();
    let waiting = Waiting {
        submission,
        answer,
        span: span.clone(),
        bytes,
        _room: room,
    };
    match queue.try_send(waiting) {
        Ok(()) => {}
        Err(mpsc::error::TrySendError::Full(_)) => {
            return reply_if_asked(office, inbox, id, Err(TryAgain::Busy.refused())).await;
        }
        Err(mpsc::error::TrySendError::Closed(_)) => {
            return reply_if_asked(office, inbox, id, Err(TryAgain::NotLeader.refused())).await;
        }
    }
    // One small task a command in the queue, whose number is bounded; it ends with the decider.
    let (office, tasks) = (office.clone(), office.tasks.clone());
    let answering = async move {
        let answer = answered
            .await
            .unwrap_or_else(|_| Err(TryAgain::NotLeader.refused()));
        reply_if_asked(&office, inbox, id, answer).await;
    };
    tasks.spawn(answering.instrument(span));
}

fn span(submission: &Submission) -> Span {
    let span = info_span!(
        "command", id = %submission.id, verb = %submission.command.verb(), actor = %submission.actor
    );
    if let Some(trace) = &submission.trace {
        chv_telemetry::set_parent(&span, trace);
    }
    span
}

fn sender(subject: &str) -> Option<Sender> {
    if let Ok((user, verb)) = subject::parse_command(subject) {
        return Some(Sender {
            inbox: user.to_string(),
            actor: Actor::User(user),
            verb,
        });
    }
    let (host, what) = subject::parse_host(subject).ok()?;
    Some(Sender {
        inbox: subject::host_user(&host),
        actor: Actor::Host(host),
        verb: format!("host.{what}"),
    })
}

/// The command's id, as far as it can be read, and the submission or its refusal.
fn read(message: &async_nats::Message, sender: &Sender) -> (String, Result<Submission, v1::Refused>) {
    let (size, max) = (message.payload.len(), subject::MAX_COMMAND_BYTES);
    if size > max {
        let words =
            format!("the command has {size} bytes, more than the {max} that are taken; make it smaller");
        return (String::new(), Err(convert::refused("too_large", words, "")));
    }
    match decode(message, sender) {
        Ok(submission) => (submission.id.to_string(), Ok(submission)),
        Err(error) => (
            error.id.map(|id| id.to_string()).unwrap_or_default(),
            Err(convert::refused_decode(&error)),
        ),
    }
}

fn decode(message: &async_nats::Message, sender: &Sender) -> Result<Submission, DecodeError> {
    let header = message
        .headers
        .as_ref()
        .and_then(|headers| headers.get("traceparent"));
    convert::decode_envelope(
        &message.payload,
        sender.actor.clone(),
        &sender.verb,
        header.map(|value| value.as_str()),
    )
}

async fn reply_if_asked(office: &Office, inbox: Option<String>, id: String, answer: Answer) {
    if let Some(inbox) = inbox {
        reply(office, inbox, id, answer).await;
    }
}

async fn reply(office: &Office, inbox: String, id: String, answer: Answer) {
    let result = match answer {
        Ok(accepted) => v1::command_reply::Result::Accepted(accepted),
        Err(refused) => v1::command_reply::Result::Refused(refused),
    };
    let reply = v1::CommandReply {
        version: 1,
        id,
        result: Some(result),
    };
    office
        .reader
        .connection
        .publish(inbox, reply.encode_to_vec())
        .await;
}
