//! What the broker and its connection say outside of any answer: that it is lost or back, that the user
//! is no longer let in, that a publish or a subscription is not permitted.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{ClientError, ConnectErrorKind, Event, ServerError};
use tokio::sync::{broadcast, watch};
use tracing::debug;

/// How many violations wait for a slow listener.
const KEPT: usize = 64;

/// The longest wait for news. The event queue of async-nats drops what does not fit.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// The broker's word that something is not permitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Violation {
    /// Publishing on this subject.
    Publish(String),
    /// Subscribing to this subject.
    Subscribe(String),
}

impl Violation {
    fn parse(text: &str) -> Option<Self> {
        let quoted = |before: &str| {
            let (_, rest) = text.split_once(before)?;
            rest.split_once('"').map(|(subject, _)| subject.to_owned())
        };
        if !text.to_ascii_lowercase().contains("permissions violation") {
            return None;
        }
        quoted("Publish to \"")
            .map(Self::Publish)
            .or_else(|| quoted("Subscription to \"").map(Self::Subscribe))
    }
}

/// Where news come in, and where they are waited for.
#[derive(Debug, Clone)]
pub(super) struct News {
    /// Whether the broker refused to let the user in again; changes, or is set anew, with any news.
    shut_out: Arc<watch::Sender<bool>>,
    violations: broadcast::Sender<Violation>,
}

impl Default for News {
    fn default() -> Self {
        Self {
            shut_out: Arc::new(watch::Sender::new(false)),
            violations: broadcast::Sender::new(KEPT),
        }
    }
}

impl News {
    /// Takes an event of async-nats.
    pub(super) fn hear(&self, event: &Event) {
        match event {
            Event::Connected => {
                self.shut_out.send_replace(false);
            }
            Event::Disconnected => self.shut_out.send_modify(|_| {}),
            Event::ClientError(ClientError::Other(text))
                if *text == ConnectErrorKind::AuthorizationViolation.to_string() =>
            {
                self.shut_out.send_replace(true);
            }
            Event::ServerError(ServerError::Other(text)) => match Violation::parse(text) {
                // Nobody listening is fine: then nobody waits for it.
                Some(violation) => drop(self.violations.send(violation)),
                None => debug!(%text, "the broker complains"),
            },
            _ => {}
        }
    }

    /// Whether the broker refused to let the user in again.
    pub(super) fn shut_out(&self) -> bool {
        *self.shut_out.borrow()
    }

    /// Every violation from now on.
    pub(super) fn violations(&self) -> Violations {
        Violations(self.violations.subscribe())
    }

    /// News about the connection from now on.
    pub(super) fn link(&self) -> LinkNews {
        LinkNews(self.shut_out.subscribe())
    }
}

/// Violations, as they come.
pub(super) struct Violations(broadcast::Receiver<Violation>);

impl Violations {
    /// The next one. Never resolves when none can come any more.
    pub(super) async fn next(&mut self) -> Violation {
        loop {
            match self.0.recv().await {
                Ok(violation) => return violation,
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

/// Changes of the connection, as they come.
pub(super) struct LinkNews(watch::Receiver<bool>);

impl LinkNews {
    /// Waits until something may have changed.
    pub(super) async fn next(&mut self) {
        // Both ends of the wait mean the same to the caller: look again.
        let _ = tokio::time::timeout(LOOK_AGAIN, self.0.changed()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_is_read_with_its_subject() {
        let text = r#"Permissions Violation for Publish to "chv.cmd.bob.vm.create""#;
        assert_eq!(
            Violation::parse(text),
            Some(Violation::Publish("chv.cmd.bob.vm.create".to_owned()))
        );
        let text = r#"Permissions Violation for Subscription to "chv.evt.>" using queue "q""#;
        assert_eq!(
            Violation::parse(text),
            Some(Violation::Subscribe("chv.evt.>".to_owned()))
        );
        for other in [
            "Stale Connection",
            "Permissions Violation",
            r#"Publish to "x""#,
            "",
        ] {
            assert_eq!(Violation::parse(other), None, "{other}");
        }
    }
}
