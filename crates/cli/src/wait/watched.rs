//! What is known of a VM that is waited for, folded from its events, and whether that is what was wanted.
//! Pure: it is told the events, and says what to show.

use chv_domain::{Actor, Event, ExitReason, Power, Seq, StopHow};

use chv_proto::convert::{self, WireError};
use chv_proto::v1;

use super::Goal;

/// A VM on its way to a [`Goal`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Watched {
    /// What is waited for.
    pub goal: Goal,
    /// Everything up to this event is folded in.
    pub seen: Seq,
    /// What it should do.
    pub power: Power,
    /// Where it is; empty when it is nowhere.
    pub host: String,
    /// What runs it, when it runs.
    pub running: Option<String>,
    /// Whether the guest said that it is ready.
    pub ready: bool,
    /// What stands in the way.
    pub trouble: Option<String>,
    /// How it ended last.
    pub exit: Option<String>,
    /// Nothing of it is left.
    pub gone: bool,
    /// Who last changed what it should do.
    pub by: Option<Actor>,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// On the way.
    Underway,
    /// There.
    Reached,
    /// It will not get there, and why.
    Lost(String),
}

impl Watched {
    /// From the VM as a replica knew it when it had applied everything up to `seen`.
    pub(crate) fn of(goal: Goal, seen: Seq, vm: &v1::Vm) -> Result<Self, WireError> {
        let some = |text: &String| (!text.is_empty()).then(|| text.clone());
        Ok(Self {
            goal,
            seen,
            power: convert::power_from_wire(vm.power.unwrap_or_default())?,
            host: vm.host.clone(),
            running: some(&vm.hypervisor),
            ready: vm.ready_since_us != 0,
            trouble: some(&vm.trouble),
            exit: some(&vm.exit),
            gone: false,
            by: None,
        })
    }

    /// A VM that is not there any more.
    pub(crate) fn gone(goal: Goal, seen: Seq) -> Self {
        Self {
            goal,
            seen,
            power: Power::Deleted,
            host: String::new(),
            running: None,
            ready: false,
            trouble: None,
            exit: None,
            gone: true,
            by: None,
        }
    }

    /// Folds an event of this VM in; events that were folded in before change nothing.
    pub(crate) fn apply(&mut self, seq: Seq, actor: &Actor, event: &Event) {
        if seq <= self.seen {
            return;
        }
        self.seen = seq;
        match event {
            Event::VmPlaced { placed, .. } => self.host = placed.name.to_string(),
            Event::VmStartRequested { .. } => self.ordered(Power::Running, actor),
            Event::VmStopRequested { how, .. } => self.ordered(Power::Stopped(*how), actor),
            Event::VmDeleteRequested { .. } => self.ordered(Power::Deleted, actor),
            Event::VmStarted { hypervisor, .. } => {
                self.running = Some(hypervisor.to_string());
                self.ready = false;
                self.trouble = None;
            }
            Event::VmAdopted { hypervisor, .. } => self.running = Some(hypervisor.to_string()),
            Event::VmReady { .. } => self.ready = true,
            Event::VmExited { reason, .. } => self.exited(reason),
            Event::VmBlocked { reason, .. } => self.trouble = Some(reason.clone()),
            Event::VmUnblocked { .. } => self.trouble = None,
            Event::VmDeleted { .. } => self.gone = true,
            Event::VmCreated { .. }
            | Event::HostRegistered { .. }
            | Event::HostFactsChanged { .. }
            | Event::HostCordoned { .. }
            | Event::HostUncordoned { .. } => {}
        }
    }

    fn ordered(&mut self, power: Power, by: &Actor) {
        self.power = power;
        self.by = Some(by.clone());
    }

    fn exited(&mut self, reason: &ExitReason) {
        self.running = None;
        self.ready = false;
        self.trouble = None;
        self.exit = Some(reason.to_string());
    }

    /// Whether it is what was wanted, may still become so, or will not.
    pub(crate) fn verdict(&self) -> Verdict {
        let by = self
            .by
            .as_ref()
            .map_or_else(String::new, |by| format!(" by {by}"));
        if self.gone {
            return match self.goal {
                Goal::Deleted => Verdict::Reached,
                _ => Verdict::Lost(format!("was deleted meanwhile{by}")),
            };
        }
        let reached = match (self.goal, self.power) {
            (Goal::Deleted, _) => false,
            (_, Power::Deleted) => return Verdict::Lost(format!("is being deleted{by}")),
            (Goal::Running | Goal::Ready, Power::Stopped(_)) => {
                return Verdict::Lost(format!("is meant to be stopped since{by}"));
            }
            (Goal::Stopped, Power::Running) => {
                return Verdict::Lost(format!("is meant to run again since{by}"));
            }
            (Goal::Running, Power::Running) => self.running.is_some(),
            (Goal::Ready, Power::Running) => self.ready,
            (Goal::Stopped, Power::Stopped(_)) => self.running.is_none(),
        };
        if reached {
            Verdict::Reached
        } else {
            Verdict::Underway
        }
    }

    /// What it is, once reached.
    pub(crate) fn outcome(&self) -> String {
        match (self.goal, &self.running) {
            (Goal::Running, Some(hypervisor)) => format!("running on {} ({hypervisor})", self.host),
            (Goal::Ready, Some(hypervisor)) => format!("ready on {} ({hypervisor})", self.host),
            (Goal::Stopped, _) => match &self.exit {
                Some(exit) => format!("stopped: {exit}"),
                None => "stopped".to_owned(),
            },
            (Goal::Deleted, _) => "deleted".to_owned(),
            (goal, None) => goal.word().to_owned(),
        }
    }

    /// What is waited for, in words.
    pub(crate) fn underway(&self) -> String {
        if let Some(trouble) = &self.trouble {
            return format!("blocked on {}, which tries again: {trouble}", self.host);
        }
        match (self.power, &self.running, &self.exit) {
            (Power::Running, Some(_), _) => format!(
                "running on {}, waiting for the guest to say that it is ready",
                self.host
            ),
            (Power::Running, None, Some(exit)) => format!("{exit}; {} starts it again", self.host),
            (Power::Running, None, None) => format!("placed on {}, starting", self.host),
            (Power::Stopped(StopHow::Graceful(timeout)), _, _) => format!(
                "asked the guest to power off; {} pulls the cord after {}s",
                self.host,
                timeout.seconds()
            ),
            (Power::Stopped(StopHow::Hard), _, _) => format!("{} kills it", self.host),
            (Power::Deleted, Some(_), _) => format!("{} stops it, then removes it", self.host),
            (Power::Deleted, None, _) => format!("{} removes what is left of it", self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use chv_domain::{Epoch, HypervisorKind, VmId};

    use super::*;

    const VM: VmId = VmId::from_bytes([7; 16]);
    const EPOCH: Epoch = Epoch(Seq(2));

    fn new(goal: Goal) -> Watched {
        Watched {
            goal,
            seen: Seq(2),
            power: Power::Running,
            host: "h1".to_owned(),
            running: None,
            ready: false,
            trouble: None,
            exit: None,
            gone: false,
            by: None,
        }
    }

    fn after(goal: Goal, events: &[Event]) -> Watched {
        let mut watched = new(goal);
        for (seq, event) in (3..).map(Seq).zip(events) {
            watched.apply(seq, &"bob".parse().unwrap(), event);
        }
        watched
    }

    fn started() -> Event {
        Event::VmStarted {
            vm: VM,
            epoch: EPOCH,
            hypervisor: HypervisorKind::QemuTcg,
            pid: 1,
            took_us: 1,
        }
    }

    fn exited() -> Event {
        Event::VmExited {
            vm: VM,
            epoch: EPOCH,
            reason: ExitReason::Vanished,
        }
    }

    fn blocked() -> Event {
        Event::VmBlocked {
            vm: VM,
            epoch: EPOCH,
            reason: "no kernel".to_owned(),
        }
    }

    #[test]
    fn given_a_create_when_started_and_ready_then_each_goal_is_reached_in_its_turn() {
        let ready = Event::VmReady { vm: VM, epoch: EPOCH };
        assert_eq!(new(Goal::Running).verdict(), Verdict::Underway);
        assert_eq!(new(Goal::Running).underway(), "placed on h1, starting");
        assert_eq!(after(Goal::Running, &[started()]).verdict(), Verdict::Reached);
        assert_eq!(
            after(Goal::Running, &[started()]).outcome(),
            "running on h1 (qemu-tcg)"
        );
        assert_eq!(after(Goal::Ready, &[started()]).verdict(), Verdict::Underway);
        let there = after(Goal::Ready, &[started(), ready]);
        assert_eq!(there.verdict(), Verdict::Reached);
        assert_eq!(there.outcome(), "ready on h1 (qemu-tcg)");
    }

    #[test]
    fn given_a_block_when_it_goes_then_waiting_went_on() {
        let watched = after(Goal::Running, &[blocked()]);
        assert_eq!(watched.verdict(), Verdict::Underway);
        assert_eq!(watched.underway(), "blocked on h1, which tries again: no kernel");
        let watched = after(Goal::Running, &[blocked(), started()]);
        assert_eq!((watched.verdict(), watched.trouble), (Verdict::Reached, None));
    }

    #[test]
    fn given_a_crash_when_waiting_for_ready_then_it_waits_for_the_next_start() {
        let watched = after(Goal::Ready, &[started(), exited()]);
        assert_eq!(watched.verdict(), Verdict::Underway);
        assert!(
            watched.underway().contains("h1 starts it again"),
            "{}",
            watched.underway()
        );
    }

    #[test]
    fn given_somebody_elses_order_when_waiting_then_it_is_lost_and_says_by_whom() {
        let stop = Event::VmStopRequested {
            vm: VM,
            how: StopHow::Hard,
        };
        for (events, word) in [
            (vec![stop.clone()], "meant to be stopped since by bob"),
            (vec![Event::VmDeleteRequested { vm: VM }], "being deleted by bob"),
            (vec![Event::VmDeleted { vm: VM }], "deleted meanwhile"),
        ] {
            let verdict = after(Goal::Running, &events).verdict();
            assert!(
                matches!(&verdict, Verdict::Lost(why) if why.contains(word)),
                "{verdict:?}"
            );
        }
        let restarted = after(Goal::Stopped, &[stop, Event::VmStartRequested { vm: VM }]);
        assert!(matches!(restarted.verdict(), Verdict::Lost(_)));
    }

    #[test]
    fn given_a_stop_and_a_delete_when_done_then_reached() {
        let stop = Event::VmStopRequested {
            vm: VM,
            how: StopHow::Hard,
        };
        let stopping = after(Goal::Stopped, &[started(), stop.clone()]);
        assert_eq!(stopping.verdict(), Verdict::Underway);
        let stopped = after(Goal::Stopped, &[started(), stop, exited()]);
        assert_eq!(stopped.verdict(), Verdict::Reached);
        let delete = Event::VmDeleteRequested { vm: VM };
        assert_eq!(
            after(Goal::Deleted, std::slice::from_ref(&delete)).verdict(),
            Verdict::Underway
        );
        let deleted = after(Goal::Deleted, &[delete, Event::VmDeleted { vm: VM }]);
        assert_eq!(
            (deleted.verdict(), deleted.outcome()),
            (Verdict::Reached, "deleted".to_owned())
        );
    }

    #[test]
    fn given_an_event_that_was_seen_when_it_comes_again_then_nothing_changes() {
        let mut watched = after(Goal::Running, &[started(), exited()]);
        let before = watched.clone();
        watched.apply(Seq(3), &"bob".parse().unwrap(), &started());
        assert_eq!(watched, before);
    }
}
