//! Waiting for a condition, never for a guess of how long it takes.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Between two looks at a condition that nothing announces.
const LOOK_AGAIN: Duration = Duration::from_millis(25);

/// Looks until `check` finds what is waited for. What it says instead is told when `patience` is over.
///
/// # Errors
/// Names `what` and the last thing that `check` said, after `patience`.
pub async fn wait_until<T, E: Display>(
    what: &str,
    patience: Duration,
    mut check: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T> {
    let deadline = Instant::now() + patience;
    let mut last = "(no look at it ended)".to_owned();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left, check()).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(instead)) => last = format!("{instead:#}"),
            Err(_) => {}
        }
        if Instant::now() >= deadline {
            bail!("after {patience:?} still waiting until {what}; at last: {last}");
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn given_a_condition_that_never_holds_then_the_error_says_which_and_what_was_seen_last() {
        let error = wait_until(
            "pigs fly",
            Duration::from_millis(60),
            async || -> Result<(), &str> { Err("they walk") },
        );
        let words = error.await.unwrap_err().to_string();
        assert!(
            words.contains("until pigs fly") && words.contains("they walk"),
            "{words}"
        );
    }
}
