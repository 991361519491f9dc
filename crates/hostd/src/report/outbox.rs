//! The reports of one VM that wait to be sent. Bounded: when nobody answers for long, the oldest are let go, for
//! the newest say how the VM is now.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::Report;

/// Reports of one VM that may wait.
const BOUND: usize = 32;

/// Puts reports in.
#[derive(Debug)]
pub struct Outbox {
    waiting: Arc<Mutex<VecDeque<Report>>>,
    /// How many were put in.
    put: watch::Sender<u64>,
    /// How many of these were sent or let go.
    done: watch::Receiver<u64>,
}

/// Takes reports out.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Arc<Mutex<VecDeque<Report>>>,
    put: watch::Receiver<u64>,
    done: watch::Sender<u64>,
}

fn lock(waiting: &Mutex<VecDeque<Report>>) -> MutexGuard<'_, VecDeque<Report>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Outbox {
    pub(super) fn new() -> (Self, Queue) {
        let waiting = Arc::new(Mutex::new(VecDeque::new()));
        let (put, put_seen) = watch::channel(0);
        let (done, done_seen) = watch::channel(0);
        let queue = Queue {
            waiting: waiting.clone(),
            put: put_seen,
            done,
        };
        (
            Self {
                waiting,
                put,
                done: done_seen,
            },
            queue,
        )
    }

    /// Puts a report in. Never waits.
    pub fn put(&self, report: Report) {
        let dropped = {
            let mut waiting = lock(&self.waiting);
            waiting.push_back(report);
            if waiting.len() > BOUND {
                waiting.pop_front()
            } else {
                None
            }
        };
        match dropped {
            Some(old) => {
                tracing::warn!(vm = %old.vm, observation = ?old.observation, "report let go: too many wait")
            }
            None => self.put.send_modify(|put| *put += 1),
        }
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> Vec<Report> {
        lock(&self.waiting).iter().cloned().collect()
    }

    /// Resolves when every report that was put in was answered; at once when that is so.
    pub async fn drained(&self) {
        let put = *self.put.borrow();
        let mut done = self.done.clone();
        if done.wait_for(|done| *done >= put).await.is_err() {
            // Nobody sends any more: nothing more will be answered.
            std::future::pending::<()>().await;
        }
    }
}

impl Queue {
    /// The next report; `None` when the outbox was dropped and nothing is left in it.
    pub(super) async fn next(&mut self) -> Option<Report> {
        loop {
            self.put.mark_unchanged();
            if let Some(report) = lock(&self.waiting).pop_front() {
                return Some(report);
            }
            self.put.changed().await.ok()?;
        }
    }

    /// The report that was taken last was answered.
    pub(super) fn sent(&self) {
        self.done.send_modify(|done| *done += 1);
    }
}
