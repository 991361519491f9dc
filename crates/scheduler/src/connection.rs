//! The scheduler's connection to the broker: subscribing and answering, and nothing about what is said.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::subject::ToSubject;
use bytes::Bytes;
use chv_proto::client::Client;
use chv_proto::subject;
use tracing::{debug, warn};

/// A cheap handle to the connection.
#[derive(Clone)]
pub(crate) struct Connection {
    client: Client,
}

/// A subscription that the client could not take.
#[derive(Debug, thiserror::Error)]
#[error("can't subscribe to {subject}: {source}")]
pub struct SubscribeError {
    subject: String,
    source: async_nats::SubscribeError,
}

/// Whether the client took a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handed {
    /// It did, or will never take this one. What the broker does with it is another matter.
    Over,
    /// It did not: it had no room, or the broker is away. It may take it later.
    NoRoom,
}

/// The queue group in which replicas share queries that any of them may answer.
const ANY_REPLICA: &str = "replicas";

/// How long a message may wait for room in the client's queue.
const PATIENCE: Duration = Duration::from_secs(1);

impl Connection {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Subscribes; every subscriber gets every message.
    pub(crate) async fn subscribe(
        &self,
        subject: impl Into<String>,
    ) -> Result<async_nats::Subscriber, SubscribeError> {
        let subject = subject.into();
        let subscribed = self.client.nats().subscribe(subject.clone()).await;
        subscribed.map_err(|source| SubscribeError { subject, source })
    }

    /// Subscribes in the group of all replicas: one of them gets each message.
    pub(crate) async fn share(
        &self,
        subject: impl Into<String>,
    ) -> Result<async_nats::Subscriber, SubscribeError> {
        let subject = subject.into();
        let group = ANY_REPLICA.to_owned();
        let subscribed = self.client.nats().queue_subscribe(subject.clone(), group).await;
        subscribed.map_err(|source| SubscribeError { subject, source })
    }

    /// A subject that only this connection's user may listen to, and nobody else has.
    pub(crate) fn own_subject(&self, what: &str) -> String {
        let unique = chv_proto::client::new_command_id();
        format!("{}.{what}.{unique}", subject::inbox_prefix(self.client.user()))
    }

    /// Publishes. While the broker is away, or when the client can't take it, the message is lost, and its sender is
    /// told so: every receiver here notices a missing message by itself, by its timeout, its feed position or the seq.
    pub(crate) async fn publish(&self, subject: impl ToSubject, payload: impl Into<Bytes>) -> Handed {
        self.publish_with_headers(subject, async_nats::HeaderMap::new(), payload)
            .await
    }

    /// Publishes with headers, like [`Connection::publish`].
    pub(crate) async fn publish_with_headers(
        &self,
        subject: impl ToSubject,
        headers: async_nats::HeaderMap,
        payload: impl Into<Bytes>,
    ) -> Handed {
        if !self.is_up() {
            debug!("a message is not sent: the broker is away");
            return Handed::NoRoom;
        }
        let (nats, payload) = (self.client.nats(), payload.into());
        let sending = async {
            if headers.is_empty() {
                nats.publish(subject, payload).await
            } else {
                nats.publish_with_headers(subject, headers, payload).await
            }
        };
        // The client's queue is bounded, and stands still when the broker does.
        match tokio::time::timeout(PATIENCE, sending).await {
            Ok(Ok(())) => Handed::Over,
            Ok(Err(error)) => {
                // It is too large, or its subject is none: it would be so again.
                warn!(%error, "a message was not handed to the broker");
                Handed::Over
            }
            Err(_) => {
                warn!("a message was not handed to the broker: it takes none");
                Handed::NoRoom
            }
        }
    }

    /// How often the connection was made: 1 after the first, one more after each that was lost.
    pub(crate) fn connects(&self) -> u64 {
        self.client.nats().statistics().connects.load(Ordering::Relaxed)
    }

    /// The largest message that the broker takes, in bytes.
    pub(crate) fn max_payload(&self) -> usize {
        self.client.nats().server_info().max_payload
    }

    /// Whether the broker is reached at this moment.
    pub(crate) fn is_up(&self) -> bool {
        self.client.nats().connection_state() == State::Connected
    }
}
