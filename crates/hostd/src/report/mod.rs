//! Tells the leader what was measured: the reports of one VM in their order, each until it is answered, with
//! the same id. What a report says is measured elsewhere; how it travels is the transport's business.

mod outbox;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chv_domain::{
    Actor, Command, CommandId, Epoch, HostName, Observation, Seq, Submission, TraceContext, VmId,
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use outbox::Outbox;

/// Reports that may be on their way at once, over all VMs.
const IN_FLIGHT: usize = 32;

/// Between two tries of one report, when the transport gave up waiting for an answer.
const PAUSE: Duration = Duration::from_millis(500);

/// Between two tries of a report that was refused because of a clock.
const CLOCK_PAUSE: Duration = Duration::from_secs(10);

/// What came of sending a report once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is in the log, or was there already.
    Accepted,
    /// The leader won't have it; another try gets the same answer.
    Refused {
        /// The stable code.
        code: String,
        /// Why.
        message: String,
    },
    /// Too long on its way, or from a clock that is off: it needs a new id.
    Outdated(String),
    /// Nobody answered, or not finally; whether it was done is not known.
    Unanswered(String),
}

/// Carries reports to the leader.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Sends it, and waits some seconds for the answer. Sending the same again is safe: it has its id.
    async fn send(&self, submission: &Submission) -> Answer;

    /// An id that no other command has.
    fn new_id(&self) -> CommandId;
}

/// One thing measured of a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The VM.
    pub vm: VmId,
    /// The grant that this host works under.
    pub epoch: Epoch,
    /// What was measured.
    pub observation: Observation,
    /// The event that was acted on.
    pub follows: Option<Seq>,
    /// The trace of the step that measured it.
    pub trace: Option<TraceContext>,
}

/// Sends reports, for all VMs of this host.
#[derive(Clone)]
pub struct Reporter {
    host: HostName,
    transport: Arc<dyn Transport>,
    in_flight: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Reporter {
    /// Sends over `transport` as `host`, in tasks that `tasks` owns and `stop` ends.
    pub fn new(
        host: HostName,
        transport: Arc<dyn Transport>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        Self {
            host,
            transport,
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT)),
            tasks,
            stop,
        }
    }

    /// An outbox for one VM, emptied by a task until it is dropped.
    pub fn outbox(&self) -> Outbox {
        let (outbox, mut queue) = Outbox::new();
        let this = self.clone();
        self.tasks.spawn(async move {
            let sending = async {
                while let Some(report) = queue.next().await {
                    this.send(&report).await;
                    queue.sent();
                }
            };
            tokio::select! {
                () = this.stop.cancelled() => {}
                () = sending => {}
            }
        });
        outbox
    }

    /// Sends one report until it is answered.
    async fn send(&self, report: &Report) {
        let Ok(_permit) = self.in_flight.acquire().await else {
            return;
        };
        let mut submission = self.submission(report);
        loop {
            let pause = match self.transport.send(&submission).await {
                Answer::Accepted => return,
                Answer::Refused { code, message } => {
                    tracing::warn!(vm = %report.vm, code, message, observation = ?report.observation, "report refused");
                    return;
                }
                Answer::Outdated(why) => {
                    tracing::warn!(vm = %report.vm, why, "report refused for its age; sent with a new id");
                    submission.id = self.transport.new_id();
                    CLOCK_PAUSE
                }
                Answer::Unanswered(why) => {
                    tracing::debug!(vm = %report.vm, why, "report not answered; sent again");
                    PAUSE
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    fn submission(&self, report: &Report) -> Submission {
        let Report {
            vm,
            epoch,
            ref observation,
            follows,
            trace,
        } = *report;
        Submission {
            id: self.transport.new_id(),
            actor: Actor::Host(self.host.clone()),
            command: Command::ReportVm {
                vm,
                epoch,
                observation: observation.clone(),
            },
            expected: None,
            deadline: None,
            trace,
            follows,
        }
    }
}
