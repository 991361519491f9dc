//! What replicas of one cluster know and nobody else: shown in each connection's greeting, until connections are
//! encrypted and replicas have certificates. It keeps whoever else reaches the loopback out, a guest on QEMU's
//! user network among them.

use std::fmt;
use std::sync::Arc;

/// The fewest characters of a secret.
const LEAST: usize = 16;

/// A cluster's secret.
#[derive(Clone)]
pub struct ClusterSecret(Arc<str>);

/// A text that is no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a cluster's secret has at least {LEAST} characters; make one, for instance with `openssl rand -hex 16`"
)]
pub struct SecretError;

impl ClusterSecret {
    /// The secret `text`.
    pub fn new(text: &str) -> Result<Self, SecretError> {
        match text.chars().count() {
            0..LEAST => Err(SecretError),
            _ => Ok(Self(text.into())),
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Whether `shown` is it. Takes the same time wherever the two differ.
    pub(crate) fn is(&self, shown: &[u8]) -> bool {
        let own = self.as_bytes();
        let differing = own
            .iter()
            .zip(shown)
            .fold(0, |differing, (a, b)| differing | (a ^ b));
        own.len() == shown.len() && differing == 0
    }
}

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterSecret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_text_is_it_and_it_is_never_printed() {
        let secret = ClusterSecret::new("0123456789abcdef").unwrap();
        assert!(secret.is(b"0123456789abcdef"));
        for other in [
            &b"0123456789abcdeg"[..],
            b"0123456789abcde",
            b"0123456789abcdef0",
            b"",
        ] {
            assert!(!secret.is(other));
        }
        assert!(ClusterSecret::new("too short").is_err());
        assert!(!format!("{secret:?}").contains("0123"));
    }
}
