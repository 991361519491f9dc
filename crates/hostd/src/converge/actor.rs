//! One VM's task: asks for the next step, does it, and waits when there is none.

mod change;
mod steps;

use std::sync::Arc;
use std::time::Duration;

use chv_domain::spec::OnHostLoss;
use chv_domain::{Epoch, ExitReason, Observation, Timestamp, VmId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, info_span};

use super::attached::{Attached, Console, Happened, Ready};
use super::here::Here;
use super::launch::Fault;
use super::slots::{Booting, booted};
use crate::hypervisor::{Exit, FromGuest, Makings, Operation};
use crate::lease::{self, SinceBoot};
use crate::ledger::{Noted, VmNote};
use crate::plan::{self, BootId, Ended, Guest, Observed, Step, Wanted};
use crate::report::{Outbox, Report};
use crate::stock::{Running, Stock};

/// Failures in a row that are not worth a report yet.
const PASSING_FAILURES: u32 = 1;

/// Before other words for what is known to stand in the way are told: some name a time or a number at each try.
const OTHER_WORDS: Duration = Duration::from_secs(60);

/// What stands in the way, whatever its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Obstacle {
    operation: Operation,
    passing: bool,
}

/// One VM's task.
pub(super) struct Actor {
    vm: VmId,
    here: Arc<Here>,
    wanted: watch::Receiver<Wanted>,
    observed: Observed,
    /// A process that was found and is not yet looked after.
    found: Option<Running>,
    attached: Option<Attached>,
    /// Since when `attached` may have been ended with the lease.
    ran_from: SinceBoot,
    /// Whether an end is noted that the log may not know.
    end_noted: bool,
    /// What was last told to stand in the way, and when.
    told_blocked: Option<(Obstacle, Timestamp)>,
    outbox: Outbox,
    console: watch::Sender<Console>,
    /// Whether a guest may be started under the host's lease.
    startable: watch::Receiver<bool>,
    /// What is being made in its directory.
    makings: Makings,
    /// The slot that it was started in, while it boots.
    booting: Option<Booting>,
}

impl Actor {
    pub(super) fn new(
        here: Arc<Here>,
        stock: Stock,
        wanted: watch::Receiver<Wanted>,
        outbox: Outbox,
    ) -> (Self, watch::Receiver<Console>) {
        let Stock {
            vm,
            observed,
            running: found,
        } = stock;
        let (console, reader) = watch::channel(Console::default());
        let end_noted = matches!(observed.guest, Guest::Ended { .. });
        let startable = here.lease.startable();
        (
            Self {
                vm,
                here,
                wanted,
                observed,
                found,
                attached: None,
                ran_from: lease::now(),
                end_noted,
                told_blocked: None,
                outbox,
                console,
                startable,
                makings: Makings::new(),
                booting: None,
            },
            reader,
        )
    }

    /// Converges until nothing of the VM is left and nobody wants it, or until `stop`.
    pub(super) async fn run(&mut self, stop: &CancellationToken) {
        let mut known = Wanted::Unheard;
        while !stop.is_cancelled() {
            let wanted = self.wanted.borrow_and_update().clone();
            if wanted != known {
                let before = self.observed.order;
                self.observed.asked(&wanted);
                known.clone_from(&wanted);
                if self.observed.order != before {
                    // An end is judged by the order that it came under, also by the next daemon.
                    self.note_running().await;
                }
            }
            self.observed.leased = *self.startable.borrow_and_update();
            match plan::next(&wanted, &self.observed, self.here.clock.now()) {
                Step::Forget => return,
                Step::Wait(until) => tokio::select! {
                    () = stop.cancelled() => return,
                    open = self.wait(until) => if !open { return },
                },
                step => {
                    let span = step_span(self.vm, &step, &wanted);
                    self.execute(step, &wanted, stop).instrument(span).await;
                }
            }
        }
    }

    /// Waits until there may be something to do; false when nobody can want anything any more.
    async fn wait(&mut self, until: Option<Timestamp>) -> bool {
        let happens = async {
            match &mut self.attached {
                Some(attached) => attached.happens().await,
                None => std::future::pending().await,
            }
        };
        let due = async {
            match until {
                Some(at) => tokio::time::sleep(self.here.clock.until(at)).await,
                None => std::future::pending().await,
            }
        };
        // Until it is started again, the next daemon has to know how often it was.
        let over = !self.wanted.borrow().runs();
        let all_told = self.end_noted && self.observed.guest == Guest::Absent && over;
        let happened = tokio::select! {
            changed = self.wanted.changed() => return changed.is_ok(),
            Ok(()) = self.startable.changed() => return true,
            happened = happens => happened,
            () = self.outbox.drained(), if all_told => {
                self.end_noted = false;
                self.note(Noted::Nothing).await;
                return true;
            }
            () = due => return true,
            () = booted(&mut self.booting) => return true,
        };
        match happened {
            Happened::Exited(exit) => self.exited(exit).await,
            Happened::Said(said) => self.said(said),
            Happened::Is(health) => self.observed.is(health),
            Happened::Console => self.show_console(),
        }
        true
    }

    async fn exited(&mut self, exit: Exit) {
        let Some(attached) = self.attached.take() else {
            return;
        };
        self.booting = None;
        let asked = matches!(self.observed.guest, Guest::Running { stop: Some(_), .. });
        let leased =
            matches!(&*self.wanted.borrow(), Wanted::Vm(vm) if vm.spec.on_host_loss == OnHostLoss::Failover);
        // Before anything is waited for, and not by how the lease is now: it may have been granted again since.
        let ended_with_it = leased && self.here.lease.has_ended_since(self.ran_from);
        let lease_ended = ended_with_it.then_some(ExitReason::LeaseEnded);
        let last_words = attached.instance.last_words().await;
        let console = attached.instance.console_tail().await;
        let out_of_memory = self.here.walls.out_of_memory(self.vm) > 0;
        let reason = plan::reason(Ended {
            exit,
            killed: attached.killed.as_ref().or(lease_ended.as_ref()),
            asked,
            bye: attached.bye,
            out_of_memory,
            last_words: &last_words,
            console: &console,
        });
        tracing::info!(vm = %self.vm, pid = attached.instance.process.pid, %reason, "ended");
        let now = self.here.clock.now();
        let ran = now.since(attached.launched);
        self.observed.ended(reason, now, ran, rand::random());
        self.console.send_replace(Console::default());
        drop(attached);
        self.leave_cgroup().await;
        let Guest::Ended {
            epoch: Some(epoch),
            reason,
            run,
        } = self.observed.guest.clone()
        else {
            return;
        };
        self.end_noted = true;
        self.note(Noted::Ended { epoch, reason, run }).await;
    }

    /// Nothing runs in it any more, and all that it counted was asked.
    async fn leave_cgroup(&self) {
        let (here, vm) = (self.here.clone(), self.vm);
        let left = tokio::task::spawn_blocking(move || here.walls.clear(vm));
        if let Ok(Err(error)) = left.await {
            tracing::warn!(vm = %self.vm, %error, "its cgroup stays until it is started again or deleted");
        }
    }

    fn said(&mut self, said: FromGuest) {
        let Some(attached) = &mut self.attached else {
            return;
        };
        match said {
            FromGuest::Ready(json) => {
                let boot = boot_of(&json);
                let news = attached.is_ready(boot.clone());
                if let Some(boot) = boot {
                    self.observed.says(boot);
                }
                self.is_ready(news);
            }
            FromGuest::Bye => attached.bye = true,
            FromGuest::Other(line) => tracing::debug!(vm = %self.vm, line, "the guest's agent"),
        }
    }

    /// Tells what a guest's being ready has in it.
    fn is_ready(&mut self, news: Ready) {
        let told = match news {
            Ready::Known => return,
            Ready::First => vec![Observation::Ready],
            Ready::BootedAnew => vec![Observation::Rebooted { order: None }, Observation::Ready],
        };
        tracing::info!(vm = %self.vm, ?news, "guest ready");
        self.booting = None;
        if let Guest::Running {
            epoch: Some(epoch),
            told: true,
            ..
        } = self.observed.guest
        {
            let wanted = self.wanted.borrow().clone();
            let span = step_span_named(self.vm, "ready", &wanted);
            span.in_scope(|| {
                told.into_iter()
                    .for_each(|observation| self.tell(epoch, observation, &wanted));
            });
        }
    }

    /// A step failed: it is tried again, and said so once.
    fn failed(&mut self, operation: Operation, fault: &Fault, wanted: &Wanted) {
        let now = self.here.clock.now();
        let obstacle = Obstacle {
            operation,
            passing: matches!(fault, Fault::Passing(_)),
        };
        let reason = match fault {
            Fault::Blocked(reason) => {
                self.observed.pace.blocked(now, rand::random());
                reason
            }
            Fault::Passing(reason) => {
                self.observed.pace.failed(now, rand::random());
                if self.observed.pace.failures() <= PASSING_FAILURES {
                    tracing::info!(vm = %self.vm, reason, "a step failed; tried again");
                    return;
                }
                reason
            }
            Fault::AlreadyRunning => return,
        };
        if let Some(told) = &self.observed.blocked {
            let known = self
                .told_blocked
                .is_some_and(|(before, at)| before == obstacle && now.since(at) < OTHER_WORDS);
            if told == reason || known {
                return;
            }
        }
        tracing::warn!(vm = %self.vm, reason, "blocked; goes on trying");
        if let Wanted::Vm(desired) = wanted {
            self.tell(desired.epoch, Observation::Blocked(reason.clone()), wanted);
            self.observed.blocked = Some(reason.clone());
            self.told_blocked = Some((obstacle, now));
        }
    }

    fn tell(&self, epoch: Epoch, observation: Observation, wanted: &Wanted) {
        let trace = chv_telemetry::current().or(match wanted {
            Wanted::Vm(desired) => desired.trace,
            Wanted::Unheard | Wanted::NotOurs(_) => None,
        });
        self.outbox.put(Report {
            vm: self.vm,
            epoch,
            observation,
            follows: wanted.revision(),
            trace,
        });
    }

    async fn note_running(&self) {
        let (
            Some(attached),
            Guest::Running {
                epoch: Some(epoch),
                stop,
                ran,
                ..
            },
        ) = (&self.attached, &self.observed.guest)
        else {
            return;
        };
        let noted = Noted::Running {
            epoch: *epoch,
            launched: attached.launched,
            stop: *stop,
            killed: attached.killed.clone(),
            boots: ran.boots.clone(),
            order: self.observed.order,
            restarts: self.observed.restarts,
        };
        self.note(noted).await;
    }

    async fn note(&self, noted: Noted) {
        let Some(epoch) = self.observed.epoch else { return };
        // Without the note a restarted daemon still finds the process by its directory; it may not know why one ended.
        if let Err(error) = self.here.ledger.put(self.vm, &VmNote { epoch, noted }).await {
            tracing::error!(vm = %self.vm, %error, "not noted");
        }
    }

    fn show_console(&self) {
        self.console
            .send_replace(self.attached.as_ref().map(Attached::console).unwrap_or_default());
    }
}

/// Which boot a guest that is ready says it is in.
fn boot_of(json: &str) -> Option<BootId> {
    #[derive(serde::Deserialize)]
    struct Said {
        boot: String,
    }
    let said: Said = serde_json::from_str(json).ok()?;
    BootId::new(&said.boot)
}

fn step_span(vm: VmId, step: &Step, wanted: &Wanted) -> Span {
    step_span_named(
        vm,
        match step {
            Step::Find => "find",
            Step::Adopt => "adopt",
            Step::TellAdopted(_) => "report adopted",
            Step::TellExited(..) => "report exited",
            Step::TellBlocked(..) => "report blocked",
            Step::TellUnblocked(_) => "report unblocked",
            Step::TellRemoved(_) => "report removed",
            Step::Launch => "launch",
            Step::TellPaused(..) => "report paused",
            Step::TellRebooted(..) => "report rebooted",
            Step::Change(..) => "change",
            Step::TellApplied(..) => "report applied",
            Step::Pause => "pause",
            Step::Resume => "resume",
            Step::Reset(_) => "reset",
            Step::Booted(_) => "booted",
            Step::PressPowerButton(_) => "press power button",
            Step::Kill(_) => "kill",
            Step::Remove => "remove",
            Step::Forget | Step::Wait(_) => "wait",
        },
        wanted,
    )
}

fn step_span_named(vm: VmId, name: &'static str, wanted: &Wanted) -> Span {
    let span = info_span!("step", otel.name = name, %vm);
    if let Wanted::Vm(desired) = wanted
        && let Some(trace) = &desired.trace
    {
        chv_telemetry::set_parent(&span, trace);
    }
    span
}
