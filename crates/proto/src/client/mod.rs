//! One connection to NATS as a named user, and what is asked over it: commands, queries, consoles, and
//! what only a host asks. [`follow`] is for events.
//!
//! A question is asked again until its patience is over, always with the same bytes, so a command keeps
//! its id and the leader answers it once and for all. Nothing is decided here about what an answer means.

mod ask;
mod batch;
mod connect;
mod console;
mod error;
pub mod follow;
mod host;
mod news;
mod query;
mod status;
mod submit;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use chv_domain::{CommandId, Timestamp};
use ulid::Ulid;

pub use ask::Waiting;
pub use batch::Outcome;
pub use connect::{ConnectError, ConnectOptions};
pub use error::{CommandError, QueryError, Refusal, Whom};
pub use status::holds_the_log;

use news::News;

/// A connection to NATS as one user. Cheap to clone; the connection ends with the last clone.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    nats: async_nats::Client,
    news: News,
    url: String,
    user: String,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("url", &self.shared.url)
            .field("user", &self.shared.user)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// The connection itself, for what is published and subscribed to.
    pub fn nats(&self) -> &async_nats::Client {
        &self.shared.nats
    }

    /// The NATS user that it is connected as.
    pub fn user(&self) -> &str {
        &self.shared.user
    }

    /// Where it is connected to.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// Whether the broker is reached at this moment.
    pub fn is_up(&self) -> bool {
        self.nats().connection_state() == async_nats::connection::State::Connected
    }
}

/// A new command's id, made of this machine's time and randomness.
pub fn new_command_id() -> CommandId {
    CommandId::from_ulid(Ulid::generate())
}

/// This machine's time.
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX))
}
