//! Somebody who answers: a fake behind one wildcard subject that remembers what it got.

use std::sync::{Arc, Mutex};

use async_nats::Message;
use chv_domain::{Command, CommandId, Submission};
use chv_proto::client::{Client, new_command_id};
use chv_proto::v1;
use futures::StreamExt as _;
use prost::Message as _;
use tokio_util::task::AbortOnDropHandle;

use crate::broker::eventually;

/// Answers until it is dropped.
pub(crate) struct Fake {
    got: Arc<Mutex<Vec<Message>>>,
    _task: AbortOnDropHandle<()>,
}

impl Fake {
    /// Listens on `subject`. `answer` is given how many messages came before, and the message; what it
    /// returns is published.
    pub(crate) async fn start(
        client: &Client,
        subject: impl Into<String>,
        mut answer: impl FnMut(usize, &Message) -> Vec<(String, Vec<u8>)> + Send + 'static,
    ) -> Self {
        let nats = client.nats().clone();
        let mut messages = nats.subscribe(subject.into()).await.unwrap();
        in_effect(client).await;
        let got: Arc<Mutex<Vec<Message>>> = Arc::default();
        let noted = Arc::clone(&got);
        let task = tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                let before = {
                    let mut noted = noted.lock().unwrap();
                    noted.push(message.clone());
                    noted.len() - 1
                };
                for (to, payload) in answer(before, &message) {
                    nats.publish(to, payload.into()).await.unwrap();
                }
            }
        });
        Self {
            got,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// What came so far.
    pub(crate) fn got(&self) -> Vec<Message> {
        self.got.lock().unwrap().clone()
    }

    /// Waits until this many have come.
    pub(crate) async fn has_got(&self, count: usize) {
        eventually("a message", || async {
            (self.got().len() >= count).then_some(())
        })
        .await;
    }

    /// The commands that came.
    pub(crate) fn envelopes(&self) -> Vec<v1::CommandEnvelope> {
        let decode = |message: &Message| v1::CommandEnvelope::decode(message.payload.as_ref()).unwrap();
        self.got().iter().map(decode).collect()
    }
}

/// Waits until the broker has taken all that was sent to it, subscriptions among it: it answers in order,
/// and says at once that nobody listens on this subject.
async fn in_effect(client: &Client) {
    let nobodys = match client.user().strip_prefix("host-") {
        Some(host) => format!("chv.host.{host}.nobody"),
        None => "chv.feed.nobody".to_owned(),
    };
    let error = client.nats().request(nobodys, "".into()).await.unwrap_err();
    assert_eq!(error.kind(), async_nats::RequestErrorKind::NoResponders);
}

/// A command of `user`'s with a new id.
pub(crate) fn cordon(user: &str) -> Submission {
    Submission::new(
        new_command_id(),
        user.parse().unwrap(),
        Command::CordonHost {
            host: "h1".parse().unwrap(),
        },
    )
}

fn answer(message: &Message, id: &str, result: v1::command_reply::Result) -> Vec<(String, Vec<u8>)> {
    let reply = v1::CommandReply {
        version: 1,
        id: id.to_owned(),
        result: Some(result),
    };
    vec![(message.reply.clone().unwrap().to_string(), reply.encode_to_vec())]
}

fn id_of(message: &Message) -> String {
    v1::CommandEnvelope::decode(message.payload.as_ref()).unwrap().id
}

/// Accepted, with this as its first event.
pub(crate) fn accept(message: &Message, first_seq: u64) -> Vec<(String, Vec<u8>)> {
    let accepted = v1::Accepted {
        first_seq,
        ..v1::Accepted::default()
    };
    let result = v1::command_reply::Result::Accepted(accepted);
    answer(message, &id_of(message), result)
}

/// Accepted, but another command.
pub(crate) fn accept_another(message: &Message) -> Vec<(String, Vec<u8>)> {
    let another = CommandId::from_bytes([9; 16]).to_string();
    answer(
        message,
        &another,
        v1::command_reply::Result::Accepted(v1::Accepted::default()),
    )
}

/// Refused with this code; when it may succeed later, then soon.
pub(crate) fn refuse(message: &Message, code: &str, retryable: bool) -> Vec<(String, Vec<u8>)> {
    refuse_for(message, code, retryable, 20)
}

/// Refused with this code, and not to be tried again for so long.
pub(crate) fn refuse_for(
    message: &Message,
    code: &str,
    retryable: bool,
    retry_after_ms: u32,
) -> Vec<(String, Vec<u8>)> {
    let refused = v1::Refused {
        code: code.to_owned(),
        message: format!("{code}, says the fake"),
        field: if retryable {
            String::new()
        } else {
            "create_vm.spec.cpu".to_owned()
        },
        retryable,
        retry_after_ms,
    };
    answer(
        message,
        &id_of(message),
        v1::command_reply::Result::Refused(refused),
    )
}

/// A replica's answer to a query.
pub(crate) fn reply(
    message: &Message,
    replica: u64,
    result: v1::query_reply::Result,
) -> Vec<(String, Vec<u8>)> {
    let reply = v1::QueryReply {
        version: 1,
        replica,
        applied_seq: 100,
        as_leader: false,
        result: Some(result),
        ..v1::QueryReply::default()
    };
    vec![(message.reply.clone().unwrap().to_string(), reply.encode_to_vec())]
}

/// A replica's state, in a cluster of two voters, a learner, and one that doesn't hold the log yet.
pub(crate) fn status(message: &Message, replica: u64) -> Vec<(String, Vec<u8>)> {
    let state = v1::ReplicaStatus {
        replica,
        term: 1,
        replicas: (1..)
            .zip(["voter", "voter", "learner", "none"])
            .map(|(replica, member)| v1::ClusterReplica {
                replica,
                member: member.to_owned(),
                ..v1::ClusterReplica::default()
            })
            .collect(),
        ..v1::ReplicaStatus::default()
    };
    reply(message, replica, v1::query_reply::Result::Status(state))
}
