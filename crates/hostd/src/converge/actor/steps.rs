//! What each step does, and how what came of it changes what is known.

use chv_domain::{Epoch, ExitReason, Observation, Seq, Timestamp};
use tokio_util::sync::CancellationToken;

use super::super::attached::Attached;
use super::super::launch::{self, Fault, Launched};
use super::super::slots::Booting;
use super::Actor;
use crate::hypervisor::{Instance, Operation, console_tail};
use crate::lease::{self, SinceBoot};
use crate::ledger::Marker;
use crate::plan::{self, Boots, Guest, Health, Restarting, Step, Wanted};
use crate::stock::{self, Running};
use crate::uptime;

/// Why nothing is begun or removed.
const STILL_MAKING: &str = "a launch that was given up still goes on; tried again when it is over";

impl Actor {
    pub(super) async fn execute(&mut self, step: Step, wanted: &Wanted, stop: &CancellationToken) {
        match step {
            Step::Find => self.look_again().await,
            Step::Adopt => self.adopt().await,
            Step::TellAdopted(epoch) => self.tell_adopted(epoch, wanted),
            Step::TellExited(epoch, reason, run) => {
                let console = self.last_lines(&reason).await;
                self.tell(epoch, Observation::Exited(reason, console, run), wanted);
                self.observed.told_exited();
            }
            Step::TellBlocked(epoch, why) => {
                tracing::warn!(vm = %self.vm, reason = why, "held; goes on when that is put right");
                self.tell(epoch, Observation::Blocked(why.clone()), wanted);
                self.observed.blocked = Some(why);
            }
            Step::TellUnblocked(epoch) => {
                self.tell(epoch, Observation::Unblocked, wanted);
                self.observed.blocked = None;
            }
            Step::TellRemoved(epoch) => {
                self.tell(epoch, Observation::Removed, wanted);
                self.observed.removed_told = true;
            }
            Step::Launch => self.launch(wanted, stop).await,
            Step::TellPaused(epoch, paused) => {
                let observation = match paused {
                    true => Observation::Paused,
                    false => Observation::Resumed,
                };
                self.tell(epoch, observation, wanted);
                self.observed.told_paused(paused);
            }
            Step::TellRebooted(epoch, order) => {
                self.tell(epoch, Observation::Rebooted { order: Some(order) }, wanted);
                self.observed.told_rebooted(order);
            }
            Step::Change(change, is) => self.change(&change, is, wanted, stop).await,
            Step::TellApplied(epoch, restart_needed) => {
                self.tell(epoch, Observation::Applied { restart_needed }, wanted);
                self.observed.told_applied(wanted.changed());
            }
            Step::Pause => self.pause(wanted).await,
            Step::Resume => self.resume(wanted).await,
            Step::Reset(order) => self.reset(order, wanted, stop).await,
            Step::Booted(order) => {
                self.observed.booted(order);
                self.note_running().await;
            }
            Step::PressPowerButton(order) => self.press_power_button(order).await,
            Step::Kill(reason) => self.kill(reason, wanted).await,
            Step::Remove => self.remove(wanted).await,
            Step::Forget | Step::Wait(_) => {}
        }
    }

    async fn launch(&mut self, wanted: &Wanted, stop: &CancellationToken) {
        let Wanted::Vm(desired) = wanted else { return };
        if !self.makings.are_over().await {
            self.failed(
                Operation::Launch,
                &Fault::Passing(STILL_MAKING.to_owned()),
                wanted,
            );
            return;
        }
        // Whatever comes of it: something is made from here on.
        self.observed.makes();
        let begun = self.here.clock.now();
        let restarts = match plan::restarting(desired, &self.observed, begun) {
            Restarting::Now(restarts) => restarts,
            // It is booted for an order.
            Restarting::At(_) | Restarting::Not => 0,
        };
        let mut newer = self.wanted.clone();
        let launched = tokio::select! {
            launched = launch::launch(&self.here, desired, begun, self.makings.begin()) => launched,
            // Dropping a launch ends what it started.
            () = stop.cancelled() => return,
            _ = newer.wait_for(|wanted| !wanted.runs()) => return,
        };
        match launched {
            Ok(Launched {
                instance,
                runs,
                looked,
                outlived,
                slot,
            }) => {
                let kind = runs.kind;
                let took = self.here.clock.now().since(begun);
                let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                let pid = instance.process.pid;
                self.observed.launched(desired, runs, begun);
                self.observed.restarts = restarts;
                if outlived {
                    tracing::warn!(vm = %self.vm, pid, "started, and the host's lease has ended meanwhile: it is ended");
                    self.observed.is(Health::Unleased);
                }
                self.tell(
                    desired.epoch,
                    Observation::Started {
                        hypervisor: kind,
                        pid,
                        took_us,
                    },
                    wanted,
                );
                tracing::info!(vm = %self.vm, name = %desired.name, hypervisor = %kind, pid, took_us, "started");
                self.attach(instance, begun, looked).await;
                self.end_noted = false;
                self.note_running().await;
                self.booting = Booting::with(slot);
            }
            Err(Fault::AlreadyRunning) => self.find().await,
            Err(fault) => self.failed(Operation::Launch, &fault, wanted),
        }
    }

    /// What the guest wrote last before an end that nobody had asked for.
    async fn last_lines(&self, reason: &ExitReason) -> String {
        if reason.was_asked_for() {
            return String::new();
        }
        console_tail(&self.here.data.run_dir(self.vm)).await
    }

    /// A process has the VM's directory that was not known of.
    async fn find(&mut self) {
        match Instance::find(self.here.data.run_dir(self.vm)).await {
            Ok(Some(instance)) if instance.vm == self.vm => {
                let runs = Marker::read(&instance.run_dir).map(|marker| marker.runs(&instance.run_dir));
                self.observed.found(None, None, Boots::default(), runs);
                let launched = self.here.clock.now();
                self.found = Some(Running {
                    instance,
                    launched,
                    killed: None,
                });
            }
            Ok(_) => self.observed.pace.failed(self.here.clock.now(), rand::random()),
            Err(error) => {
                tracing::warn!(vm = %self.vm, %error, "can't tell whether it runs; not started before that is clear");
                self.observed.pace.blocked(self.here.clock.now(), rand::random());
            }
        }
    }

    /// It could not be told whether it runs.
    async fn look_again(&mut self) {
        let now = self.here.clock.now();
        let stock = match stock::retake(&self.here.data, &self.here.ledger, self.vm, now).await {
            Ok(stock) => stock,
            Err(error) => {
                tracing::warn!(vm = %self.vm, %error, "can't tell whether it runs");
                self.observed.pace.blocked(now, rand::random());
                return;
            }
        };
        self.observed.epoch = self.observed.epoch.max(stock.observed.epoch);
        self.observed.guest = stock.observed.guest;
        self.observed.last_end = stock.observed.last_end;
        self.observed.leftovers = stock.observed.leftovers;
        self.found = stock.running;
        self.end_noted = matches!(self.observed.guest, Guest::Ended { .. });
        match self.observed.guest {
            Guest::Unclear => self.observed.pace.blocked(now, rand::random()),
            _ => self.observed.pace.succeeded(),
        }
    }

    async fn adopt(&mut self) {
        let Some(Running {
            instance,
            launched,
            killed,
        }) = self.found.take()
        else {
            return;
        };
        tracing::info!(vm = %self.vm, hypervisor = %instance.kind, pid = instance.process.pid, "found running");
        self.observed.adopted(self.here.clock.now());
        self.attach(instance, launched, lease::now()).await;
        if let Some(attached) = &mut self.attached {
            attached.killed = killed;
            // As it is, not as it is expected to be: it may have been held, or given up, meanwhile.
            if let Some(health) = attached.look().await {
                self.observed.is(health);
            }
        }
    }

    async fn attach(&mut self, instance: Instance, launched: Timestamp, looked: SinceBoot) {
        self.ran_from = looked;
        self.attached = Some(Attached::new(instance, launched, &self.here.hypervisors).await);
        self.show_console();
    }

    fn tell_adopted(&mut self, epoch: Epoch, wanted: &Wanted) {
        let Some(attached) = &self.attached else { return };
        let Instance {
            kind: hypervisor,
            process,
            ..
        } = &attached.instance;
        let uptime = uptime::of(process).unwrap_or_else(|_| self.here.clock.now().since(attached.launched));
        let uptime_ms = u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX);
        let (hypervisor, pid) = (*hypervisor, process.pid);
        let paused =
            matches!(&self.observed.guest, Guest::Running { health, .. } if health.held() == Some(true));
        self.tell(
            epoch,
            Observation::Adopted {
                hypervisor,
                pid,
                uptime_ms,
                paused,
            },
            wanted,
        );
        // The guest may have said that it is ready before the log could be told under which grant.
        if attached.ready {
            self.tell(epoch, Observation::Ready, wanted);
        }
        self.observed.told_adopted(epoch);
    }

    async fn pause(&mut self, wanted: &Wanted) {
        let Some(attached) = &mut self.attached else {
            return;
        };
        match attached.pause().await {
            Ok(()) => {
                self.observed.is(Health::Paused);
                self.observed.pace.succeeded();
            }
            Err(error) => self.failed(Operation::Pause, &Fault::Passing(error.to_string()), wanted),
        }
    }

    async fn resume(&mut self, wanted: &Wanted) {
        let Some(attached) = &mut self.attached else {
            return;
        };
        match attached.resume().await {
            Ok(()) => {
                self.observed.is(Health::Sound);
                self.observed.pace.succeeded();
            }
            Err(error) => self.failed(Operation::Resume, &Fault::Passing(error.to_string()), wanted),
        }
    }

    async fn reset(&mut self, order: Seq, wanted: &Wanted, stop: &CancellationToken) {
        // Before the effect: should this daemon end now, the next one knows that it has to find out whether it was done.
        self.observed.resetting(order);
        self.note_running().await;
        let Some(attached) = &mut self.attached else {
            return;
        };
        let reset = tokio::select! {
            reset = attached.reset() => reset,
            () = stop.cancelled() => return,
        };
        match reset {
            Ok(()) => {
                tracing::info!(vm = %self.vm, %order, "reset");
                attached.booted();
                self.observed.booted(order);
                self.note_running().await;
            }
            Err(error) => self.failed(Operation::Reset, &Fault::Passing(error.to_string()), wanted),
        }
    }

    async fn press_power_button(&mut self, order: Seq) {
        let Some(attached) = &mut self.attached else {
            return;
        };
        if let Err(error) = attached.press_power_button().await {
            tracing::info!(vm = %self.vm, %error, "power button not pressed; tried again");
        }
        if self.observed.pressed(order, self.here.clock.now()) {
            self.note_running().await;
        }
    }

    async fn kill(&mut self, reason: ExitReason, wanted: &Wanted) {
        let Some(attached) = &mut self.attached else {
            return;
        };
        attached.killed = Some(reason);
        // Before the effect: should this daemon end now, the next one knows why the guest did.
        self.note_running().await;
        let Some(attached) = &self.attached else { return };
        match attached.kill().await {
            Ok(exit) => self.exited(exit).await,
            Err(error) => {
                // It runs on: an end that comes later has a reason of its own.
                if let Some(attached) = &mut self.attached {
                    attached.killed = None;
                }
                self.note_running().await;
                self.failed(Operation::Kill, &Fault::Passing(error.to_string()), wanted);
            }
        }
    }

    async fn remove(&mut self, wanted: &Wanted) {
        match self.clear_away().await {
            Ok(true) => {
                self.end_noted = false;
                self.observed.removed();
            }
            Ok(false) => self.find().await,
            Err(why) => self.failed(Operation::Remove, &Fault::Passing(why), wanted),
        }
    }

    /// Removes the directory and the note; false when a process has the directory after all.
    async fn clear_away(&self) -> Result<bool, String> {
        if !self.makings.are_over().await {
            return Err(STILL_MAKING.to_owned());
        }
        let dir = self.here.data.run_dir(self.vm);
        if Instance::find(dir.clone())
            .await
            .map_err(|error| error.to_string())?
            .is_some()
        {
            return Ok(false);
        }
        let (here, vm) = (self.here.clone(), self.vm);
        let cleared = tokio::task::spawn_blocking(move || {
            here.walls.clear(vm).map_err(|error| error.to_string())?;
            match std::fs::remove_dir_all(dir.path()) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(format!("{} can't be removed: {error}", dir.path().display()))
                }
                _ => Ok(()),
            }
        });
        cleared.await.unwrap_or_else(|error| Err(error.to_string()))?;
        self.here
            .ledger
            .remove(self.vm)
            .await
            .map_err(|error| error.to_string())?;
        // Only now: what is left of a VM's files would be another's.
        self.here.walls.give_back(self.vm);
        Ok(true)
    }
}
