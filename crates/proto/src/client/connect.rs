//! Connecting as a named user, with inboxes of that user's own.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_nats::ConnectErrorKind;

use super::news::News;
use super::{Client, Shared};
use crate::subject;

/// How many messages wait for one subscription's reader; what comes on top is dropped.
const SUBSCRIPTION_CAPACITY: usize = 8192;

/// The longest pause between two attempts to reach the broker again.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// After so long without a word of the broker's it is asked for one; after three times as long the connection counts as
/// lost. A link that swallows everything is not found out otherwise.
const QUIET: Duration = Duration::from_secs(2);

/// How to connect.
#[derive(Clone)]
pub struct ConnectOptions {
    /// Where the broker is, such as `nats://127.0.0.1:4222`.
    pub url: String,
    /// The NATS user: a person's name, `host-<name>`, or `scheduler`.
    pub user: String,
    /// Its password.
    pub password: String,
    /// What the broker's monitoring calls the connection.
    pub name: String,
    /// How long connecting may take.
    pub connect_timeout: Duration,
}

impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("url", &self.url)
            .field("user", &self.user)
            .field("name", &self.name)
            .field("connect_timeout", &self.connect_timeout)
            .finish_non_exhaustive()
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answers there, or not in time.
    #[error("can't reach NATS at {url}: {reason}; is nats-server running, and is the address right?")]
    Unreachable {
        /// Where.
        url: String,
        /// What the network said.
        reason: String,
    },
    /// The broker does not let the user in.
    #[error("NATS at {url} does not let {user:?} in: no such user, or another password")]
    Refused {
        /// Where.
        url: String,
        /// Who.
        user: String,
    },
    /// The address is none.
    #[error("{url:?} is not an address of NATS: write nats://<host>:<port>")]
    Url {
        /// What was given.
        url: String,
    },
}

impl Client {
    /// Connects; fails when that is not done within the options' time. Once connected, a lost connection
    /// is made again for as long as the client lives.
    pub async fn connect(options: ConnectOptions) -> Result<Self, ConnectError> {
        let ConnectOptions {
            url,
            user,
            password,
            name,
            connect_timeout,
        } = options;
        let news = News::default();
        let heard = news.clone();
        let connecting = async_nats::ConnectOptions::with_user_and_password(user.clone(), password)
            .name(name)
            .custom_inbox_prefix(subject::inbox_prefix(&user))
            .connection_timeout(connect_timeout)
            .ping_interval(QUIET)
            .subscription_capacity(SUBSCRIPTION_CAPACITY)
            .reconnect_delay_callback(pause)
            .event_callback(move |event| {
                heard.hear(&event);
                std::future::ready(())
            })
            .connect(url.as_str());
        let connected = tokio::time::timeout(connect_timeout, connecting).await;
        let reason = match connected {
            Ok(Ok(nats)) => {
                let shared = Shared {
                    nats,
                    news,
                    url,
                    user,
                };
                return Ok(Self {
                    shared: Arc::new(shared),
                });
            }
            Ok(Err(error)) => match error.kind() {
                ConnectErrorKind::ServerParse => return Err(ConnectError::Url { url }),
                ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                    return Err(ConnectError::Refused { url, user });
                }
                _ => error.to_string(),
            },
            Err(_) => format!("no answer within {connect_timeout:?}"),
        };
        Err(ConnectError::Unreachable { url, reason })
    }
}

/// The pause before an attempt to connect: none at first, then longer and longer.
fn pause(attempt: usize) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
    match doublings {
        0 => Duration::ZERO,
        doublings => Duration::from_millis(10)
            .saturating_mul(2_u32.saturating_pow(doublings))
            .min(LONGEST_PAUSE),
    }
}
