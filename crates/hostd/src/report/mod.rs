//! Tells the leader what was measured: the reports of one VM in their order, each until it is answered, with
//! the same id. What a report says is measured elsewhere; how it travels is not known here.

mod outbox;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use chv_domain::{Actor, Command, Epoch, HostName, Observation, Seq, Submission, TraceContext, VmId};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::leader::{Answer, Leader};
pub use outbox::Outbox;

/// Reports that may be on their way at once, over all VMs.
const IN_FLIGHT: usize = 32;

/// Between two tries of one report, when nobody answered.
const PAUSE: Duration = Duration::from_millis(500);

/// Between two tries of a report that was refused because of a clock.
const CLOCK_PAUSE: Duration = Duration::from_secs(10);

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
    leader: Arc<dyn Leader>,
    in_flight: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Reporter {
    /// Sends to `leader` as `host`, in tasks that `tasks` owns and `stop` ends.
    pub fn new(host: HostName, leader: Arc<dyn Leader>, tasks: TaskTracker, stop: CancellationToken) -> Self {
        Self {
            host,
            leader,
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
            let pause = match self.leader.send(&submission).await {
                Answer::Accepted => return,
                Answer::Refused { code, message } => {
                    tracing::warn!(vm = %report.vm, code, message, observation = ?report.observation, "report refused");
                    return;
                }
                Answer::Outdated(why) => {
                    tracing::warn!(vm = %report.vm, why, "report refused for its age; sent with a new id");
                    submission.id = self.leader.new_id();
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
        let command = Command::ReportVm {
            vm,
            epoch,
            observation: observation.clone(),
        };
        Submission {
            trace,
            follows,
            ..Submission::new(self.leader.new_id(), Actor::Host(self.host.clone()), command)
        }
    }
}
