//! What is being made in a machine's directory. Work on a blocking thread goes on when whoever waited for it has let go of
//! it: nothing else may be made or removed there before it is over.

use std::time::Duration;

use tokio::sync::watch;

/// The most that is waited for work to be over: somewhat longer than a launcher may take.
const LIMIT: Duration = Duration::from_secs(25);

/// The work in one machine's directory.
#[derive(Debug)]
pub(crate) struct Makings(watch::Sender<()>);

/// Held by work as long as it goes on.
#[derive(Debug, Clone, Default)]
pub struct Making {
    _held: Option<watch::Receiver<()>>,
}

impl Makings {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(()))
    }

    /// More work begins.
    pub(crate) fn begin(&self) -> Making {
        Making {
            _held: Some(self.0.subscribe()),
        }
    }

    /// Waits until all of it is over; false when it goes on for longer than any should.
    pub(crate) async fn are_over(&self) -> bool {
        tokio::time::timeout(LIMIT, self.0.closed()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn given_work_that_nobody_waits_for_then_it_is_over_when_all_of_it_has_let_go() {
        let makings = Makings::new();
        assert!(makings.are_over().await);
        let (one, other) = (makings.begin(), makings.begin());
        let copy = one.clone();
        drop((one, other));
        assert!(!makings.are_over().await);
        let (over, ()) = tokio::join!(makings.are_over(), async { drop(copy) });
        assert!(over);
    }
}
