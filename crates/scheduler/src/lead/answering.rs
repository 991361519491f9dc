//! The way back: answers to the inboxes of their senders. Answers to commands that came in one message go back in
//! one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use chv_eventlog::Stage;
use chv_proto::v1;
use prost::Message as _;
use tokio::sync::{mpsc, oneshot};

use super::Office;
use crate::answer::Answer;
use crate::connection::Connection;

/// Where the answer to a command goes.
#[derive(Debug)]
pub(crate) struct ReplyTo {
    /// The command's id.
    id: String,
    to: To,
}

#[derive(Debug)]
enum To {
    /// Nobody asked for it.
    Nobody,
    /// The leader itself.
    Leader(oneshot::Sender<Answer>),
    /// A message of its own.
    Inbox(String),
    /// The refusal of a whole message with several commands.
    Whole(String),
    /// This place in the answer to a message with several commands.
    Part(Arc<Together>, usize),
}

/// The answers to the commands of one message, until the last one is there.
#[derive(Debug)]
struct Together {
    inbox: String,
    replies: Mutex<(usize, Vec<v1::CommandReply>)>,
}

/// The answers to the commands of an entry.
pub(super) struct Answers {
    /// When it was known what became of the entry.
    pub(super) since: Instant,
    pub(super) answers: Vec<Answered>,
}

/// An answer on its way.
pub(super) struct Answered {
    reply: v1::CommandReply,
    to: To,
}

impl ReplyTo {
    /// For a command that came alone; `inbox` is where its sender asked for the answer.
    pub(super) fn alone(inbox: Option<String>, id: String) -> Self {
        Self {
            id,
            to: inbox.map_or(To::Nobody, To::Inbox),
        }
    }

    /// For what the leader asks for itself, and waits for.
    pub(super) const fn leader(id: String, tell: oneshot::Sender<Answer>) -> Self {
        Self {
            id,
            to: To::Leader(tell),
        }
    }

    /// For a message with several commands that is refused as a whole.
    pub(super) fn whole(inbox: Option<String>) -> Self {
        Self {
            id: String::new(),
            to: inbox.map_or(To::Nobody, To::Whole),
        }
    }

    /// For commands that came in one message, in their order.
    pub(super) fn together(inbox: Option<String>, ids: Vec<String>) -> Vec<Self> {
        let Some(inbox) = inbox else {
            return ids.into_iter().map(|id| Self { id, to: To::Nobody }).collect();
        };
        let replies = Mutex::new((ids.len(), vec![v1::CommandReply::default(); ids.len()]));
        let together = Arc::new(Together { inbox, replies });
        let part = |(at, id)| Self {
            id,
            to: To::Part(Arc::clone(&together), at),
        };
        ids.into_iter().enumerate().map(part).collect()
    }

    /// With the answer.
    pub(super) fn with(self, answer: Answer) -> Answered {
        let result = match answer {
            Ok(accepted) => v1::command_reply::Result::Accepted(accepted),
            Err(refused) => v1::command_reply::Result::Refused(refused),
        };
        let reply = v1::CommandReply {
            version: 1,
            id: self.id,
            result: Some(result),
        };
        Answered { reply, to: self.to }
    }
}

impl Answered {
    /// The message that is due, if any.
    fn message(self) -> Option<(String, Vec<u8>)> {
        match self.to {
            To::Nobody => None,
            To::Leader(tell) => {
                let answer = match self.reply.result {
                    Some(v1::command_reply::Result::Accepted(accepted)) => Ok(accepted),
                    Some(v1::command_reply::Result::Refused(refused)) => Err(refused),
                    None => return None,
                };
                // The office has ended, if nobody waits for it.
                let _ = tell.send(answer);
                None
            }
            To::Inbox(inbox) => Some((inbox, self.reply.encode_to_vec())),
            To::Whole(inbox) => {
                let refused = match self.reply.result {
                    Some(v1::command_reply::Result::Refused(refused)) => Some(refused),
                    Some(v1::command_reply::Result::Accepted(_)) | None => None,
                };
                let message = v1::CommandBatchReply {
                    version: 1,
                    replies: Vec::new(),
                    refused,
                };
                Some((inbox, message.encode_to_vec()))
            }
            To::Part(together, at) => together.put(at, self.reply),
        }
    }
}

impl Together {
    /// Puts a reply in its place; the message, when it was the last.
    fn put(&self, at: usize, reply: v1::CommandReply) -> Option<(String, Vec<u8>)> {
        let mut replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
        let (missing, replies) = &mut *replies;
        *missing = missing.saturating_sub(1);
        if let Some(place) = replies.get_mut(at) {
            *place = reply;
        }
        (*missing == 0).then(|| {
            let message = v1::CommandBatchReply {
                version: 1,
                replies: std::mem::take(replies),
                refused: None,
            };
            (self.inbox.clone(), message.encode_to_vec())
        })
    }
}

/// Sends answers for as long as there is anybody to make them.
pub(super) async fn run(office: Office, mut answers: mpsc::Receiver<Answers>) {
    while let Some(Answers { since, answers }) = answers.recv().await {
        let count = answers.len();
        for answer in answers {
            send(&office.reader.connection, answer).await;
        }
        office
            .reader
            .log
            .timings()
            .record(Stage::Reply, since.elapsed(), count);
    }
}

/// Sends one answer.
pub(super) async fn send(connection: &Connection, answer: Answered) {
    if let Some((inbox, message)) = answer.message() {
        connection.publish(inbox, message).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(message: &str) -> Answer {
        Err(chv_proto::convert::refused("no_host", message, ""))
    }

    #[test]
    fn answers_to_one_message_go_back_in_one_and_in_its_order() {
        // Given two commands of one message,
        let mut to = ReplyTo::together(
            Some("_INBOX.alice.1".to_owned()),
            vec!["a".to_owned(), "b".to_owned()],
        );
        let (second, first) = (to.pop().unwrap(), to.pop().unwrap());
        // when the second is answered first, nothing is sent yet.
        assert_eq!(second.with(refused("of b")).message(), None);
        // Then with the other, all is.
        let (inbox, message) = first.with(refused("of a")).message().unwrap();
        assert_eq!(inbox, "_INBOX.alice.1");
        let reply = v1::CommandBatchReply::decode(message.as_slice()).unwrap();
        let ids: Vec<_> = reply.replies.iter().map(|reply| reply.id.as_str()).collect();
        assert_eq!(ids, ["a", "b"]);
    }

    #[test]
    fn nobody_is_sent_what_nobody_asked_for() {
        assert_eq!(
            ReplyTo::alone(None, "a".to_owned()).with(refused("a")).message(),
            None
        );
        let to = ReplyTo::together(None, vec!["a".to_owned()]);
        assert!(to.into_iter().all(|to| to.with(refused("a")).message().is_none()));
    }
}
