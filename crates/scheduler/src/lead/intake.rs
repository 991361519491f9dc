//! The way in: a message becomes submissions in the bounded queue, or is refused at once.
//!
//! The sender is the subject's, which the broker's permissions tie to one user, and an answer goes only to
//! that user's inbox: otherwise a command could make the scheduler write to any subject.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use chv_domain::{Actor, Command, Submission};
use chv_proto::convert::{self, DecodeError};
use chv_proto::{subject, v1};
use chv_telemetry::TRACED;
use futures::{Stream, StreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tracing::{Span, debug, debug_span, warn};

use super::Office;
use super::answering::{self, ReplyTo};
use crate::answer::{Answer, TryAgain};
use crate::connection::{Connection, SubscribeError};

/// A command that waits to be decided.
pub(crate) struct Waiting {
    pub(crate) submission: Submission,
    pub(crate) to: ReplyTo,
    /// The command's span; deciding and committing are its children.
    pub(crate) span: Span,
    /// When it came.
    pub(crate) since: Instant,
    /// How large its part of the message was, in bytes.
    pub(crate) bytes: usize,
    /// What all commands of its message take up of the room for those that wait; given back with the last of them.
    pub(crate) _room: Arc<OwnedSemaphorePermit>,
}

/// How much all commands that wait may take up, in KiB.
pub(super) const ROOM_KIB: usize = 64 << 10;

/// Where a message came from, by its subject.
struct Sender {
    actor: Actor,
    inbox: String,
    verb: String,
    /// Whether it sent several commands in one message.
    batch: bool,
}

/// A message, read.
struct Read {
    /// Where the answers go, one for each submission.
    to: Vec<ReplyTo>,
    submissions: Vec<Submission>,
}

/// What comes on the subjects of commands.
pub(super) type Messages = Pin<Box<dyn Stream<Item = async_nats::Message> + Send>>;

/// Takes commands in for as long as the term lasts, then leaves what else comes in `left`.
pub(super) async fn run(
    office: Office,
    queue: mpsc::Sender<Waiting>,
    left: oneshot::Sender<Messages>,
) -> Result<(), SubscribeError> {
    let mut messages = listen(&office.reader.connection).await?;
    office.listening.cancel();
    loop {
        tokio::select! {
            () = office.stop.cancelled() => {
                // Where nobody takes it, this replica does not know who leads next.
                let _ = left.send(messages);
                return Ok(());
            }
            message = messages.next() => match message {
                Some(message) => take(&office, &queue, &message).await,
                None => return Ok(()),
            },
        }
    }
}

/// Listens to the subjects of commands.
pub(super) async fn listen(connection: &Connection) -> Result<Messages, SubscribeError> {
    let users = connection.subscribe(subject::COMMANDS).await?;
    let batches = connection.subscribe(subject::COMMAND_BATCHES).await?;
    let registrations = connection.subscribe(subject::HOST_REGISTRATIONS).await?;
    let reports = connection.subscribe(subject::HOST_REPORTS).await?;
    let hosts = stream::select(registrations, reports);
    Ok(Box::pin(stream::select(stream::select(users, batches), hosts)))
}

async fn take(office: &Office, queue: &mpsc::Sender<Waiting>, message: &async_nats::Message) {
    if let Some(read) = read_or_refuse(&office.reader.connection, message).await {
        enqueue(office, queue, read, message.payload.len()).await;
    }
}

/// Answers a message that it has to be sent again, to another leader.
pub(super) async fn turn_away(connection: &Connection, message: &async_nats::Message) {
    refuse(connection, message, &TryAgain::NotLeader).await;
}

/// Answers a message that it has to be sent again, and why.
pub(super) async fn refuse(connection: &Connection, message: &async_nats::Message, why: &TryAgain) {
    if let Some(read) = read_or_refuse(connection, message).await {
        refuse_all(connection, read.to, why).await;
    }
}

async fn refuse_all(connection: &Connection, to: Vec<ReplyTo>, why: &TryAgain) {
    for to in to {
        answering::send(connection, to.with(Err(why.refused()))).await;
    }
}

/// Reads a message; answers one that is refused as a whole.
async fn read_or_refuse(connection: &Connection, message: &async_nats::Message) -> Option<Read> {
    let Some(sender) = sender(&message.subject) else {
        debug!(subject = %message.subject, "a message on no command's subject");
        return None;
    };
    let inbox = message.reply.as_ref().map(ToString::to_string);
    let foreign = inbox
        .as_ref()
        .is_some_and(|inbox| !subject::is_inbox_of(&sender.inbox, inbox));
    if foreign {
        warn!(actor = %sender.actor, reply = ?inbox, "a command asks for its answer elsewhere than in its sender's inbox");
        let decoded = decode(message, &sender);
        let id = decoded.map_or_else(|error| error.id, |submission| Some(submission.id));
        let id = id.map(|id| id.to_string()).unwrap_or_default();
        let prefix = subject::inbox_prefix(&sender.inbox);
        let message = format!("answers go to {prefix}.> only; set the client's inbox prefix to {prefix}");
        let refused = convert::refused("bad_reply_subject", message, "");
        let to = ReplyTo::alone(Some(format!("{prefix}.refused")), id);
        answering::send(connection, to.with(Err(refused))).await;
        return None;
    }
    match read(message, &sender, inbox) {
        Ok(read) => Some(read),
        Err((to, refused)) => {
            answering::send(connection, to.with(Err(*refused))).await;
            None
        }
    }
}

/// Puts what the leader itself records into the queue; `tell` is told what came of it.
pub(super) async fn own(
    office: &Office,
    queue: &mpsc::Sender<Waiting>,
    submission: Submission,
    tell: oneshot::Sender<Answer>,
) {
    let read = Read {
        to: vec![ReplyTo::leader(submission.id.to_string(), tell)],
        submissions: vec![submission],
    };
    enqueue(office, queue, read, 0).await;
}

/// Puts all commands of a message into the queue, or none.
async fn enqueue(office: &Office, queue: &mpsc::Sender<Waiting>, read: Read, bytes: usize) {
    let Read { to, submissions } = read;
    let refuse = async |to, why| refuse_all(&office.reader.connection, to, &why).await;
    // What makes room is not refused for want of it.
    let makes_room = |submission: &Submission| matches!(submission.command, Command::ForgetHistory { .. });
    if !submissions.iter().all(makes_room)
        && let Err(disks) = office.reader.log.disks()
    {
        return refuse(to, TryAgain::NoDisk(disks)).await;
    }
    let share = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
    let Ok(room) = Arc::clone(&office.room).try_acquire_many_owned(share) else {
        return refuse(to, TryAgain::Busy).await;
    };
    let places = match queue.try_reserve_many(submissions.len()) {
        Ok(places) => places,
        Err(mpsc::error::TrySendError::Full(())) => return refuse(to, TryAgain::Busy).await,
        Err(mpsc::error::TrySendError::Closed(())) => return refuse(to, TryAgain::NotLeader).await,
    };
    let since = Instant::now();
    let (room, each) = (Arc::new(room), bytes / submissions.len().max(1));
    for ((place, submission), to) in places.zip(submissions).zip(to) {
        let span = span(&submission);
        let traced = (!span.is_disabled()).then(|| span.in_scope(chv_telemetry::current));
        let trace = traced.flatten().or(submission.trace);
        place.send(Waiting {
            submission: Submission { trace, ..submission },
            to,
            span,
            since,
            bytes: each,
            _room: Arc::clone(&room),
        });
    }
}

fn span(submission: &Submission) -> Span {
    let span = debug_span!(
        target: TRACED, "command",
        id = %submission.id, verb = %submission.command.verb(), actor = %submission.actor
    );
    if let Some(trace) = submission.trace.as_ref().filter(|_| !span.is_disabled()) {
        chv_telemetry::set_parent(&span, trace);
    }
    span
}

fn sender(subject: &str) -> Option<Sender> {
    let (user, verb, batch) = match subject::parse_command(subject) {
        Ok((user, verb)) => (user, verb, false),
        Err(_) => match subject::parse_command_batch(subject) {
            Ok((user, verb)) => (user, verb, true),
            Err(_) => return host(subject),
        },
    };
    Some(Sender {
        inbox: user.to_string(),
        actor: Actor::User(user),
        verb,
        batch,
    })
}

fn host(subject: &str) -> Option<Sender> {
    let (host, what) = subject::parse_host(subject).ok()?;
    Some(Sender {
        inbox: subject::host_user(&host),
        actor: Actor::Host(host),
        verb: format!("host.{what}"),
        batch: false,
    })
}

/// The submissions of a message, or why it is refused as a whole.
fn read(
    message: &async_nats::Message,
    sender: &Sender,
    inbox: Option<String>,
) -> Result<Read, (ReplyTo, Box<v1::Refused>)> {
    let (size, max) = (message.payload.len(), subject::MAX_COMMAND_BYTES);
    let whole = |inbox, id: String, refused| match sender.batch {
        true => (ReplyTo::whole(inbox), Box::new(refused)),
        false => (ReplyTo::alone(inbox, id), Box::new(refused)),
    };
    if size > max {
        let words =
            format!("the message has {size} bytes, more than the {max} that are taken; make it smaller");
        return Err(whole(
            inbox,
            String::new(),
            convert::refused("too_large", words, ""),
        ));
    }
    let decoded = match sender.batch {
        true => decode_batch(message, sender),
        false => decode(message, sender).map(|submission| vec![submission]),
    };
    match decoded {
        Ok(submissions) => {
            let mut ids = submissions.iter().map(|submission| submission.id.to_string());
            let to = match sender.batch {
                true => ReplyTo::together(inbox, ids.collect()),
                false => ids
                    .next()
                    .map(|id| ReplyTo::alone(inbox, id))
                    .into_iter()
                    .collect(),
            };
            Ok(Read { to, submissions })
        }
        Err(error) => {
            let id = error.id.map(|id| id.to_string()).unwrap_or_default();
            Err(whole(inbox, id, convert::refused_decode(&error)))
        }
    }
}

fn decode(message: &async_nats::Message, sender: &Sender) -> Result<Submission, DecodeError> {
    convert::decode_envelope(
        &message.payload,
        sender.actor.clone(),
        &sender.verb,
        trace_header(message),
    )
}

fn decode_batch(message: &async_nats::Message, sender: &Sender) -> Result<Vec<Submission>, DecodeError> {
    convert::decode_batch(
        &message.payload,
        &sender.actor,
        &sender.verb,
        trace_header(message),
    )
}

fn trace_header(message: &async_nats::Message) -> Option<&str> {
    let headers = message.headers.as_ref()?;
    headers.get("traceparent").map(|value| value.as_str())
}
