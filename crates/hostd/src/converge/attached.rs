//! A process that a VM's task looks after: its end, its agent, its console.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use chv_domain::{ExitReason, Timestamp};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::here::Hypervisors;
use crate::hypervisor::{
    AgentChannel, Changing, ConsoleInput, ConsolePump, Exit, FromGuest, Hypervisor, HypervisorError,
    Instance, KILL_LIMIT, Operation, Status, ToGuest,
};
use crate::plan::{BootId, Health};

/// Before a console or an agent channel that could not be opened is tried again.
const REOPEN: Duration = Duration::from_secs(1);

/// Between two looks at whether the hypervisor has given the guest up or holds it, of which nothing else tells.
const LOOK_EVERY: Duration = Duration::from_secs(40);

/// After so many questions in a row without an answer a hypervisor is mute: one can be lost on a busy host.
const MUTE_AFTER: u32 = 2;

/// Between two tries to let a guest go on that is held.
const RESUME_EVERY: Duration = Duration::from_secs(2);

/// Between two reports that a guest booted by itself.
const TELL_BOOT: Duration = Duration::from_secs(10);

/// How a VM's console can be reached.
#[derive(Debug, Clone, Default)]
pub struct Console {
    /// Whether the VM runs.
    pub running: bool,
    /// Types on it; `None` while it can't be typed on.
    pub input: Option<ConsoleInput>,
}

/// What happened to a process that is looked after.
#[derive(Debug)]
pub(super) enum Happened {
    /// It ended.
    Exited(Exit),
    /// The guest said this.
    Said(FromGuest),
    /// Its hypervisor says that the guest is so now.
    Is(Health),
    /// The console can be typed on, or not any more.
    Console,
}

/// A process that is looked after.
pub(super) struct Attached {
    pub(super) instance: Instance,
    pub(super) launched: Timestamp,
    /// Why this daemon is ending it, when it is.
    pub(super) killed: Option<ExitReason>,
    /// Whether the guest said that it powers off.
    pub(super) bye: bool,
    /// Whether it was reported that the guest is ready.
    pub(super) ready: bool,
    driver: Option<Arc<dyn Hypervisor>>,
    agent: Option<AgentChannel>,
    console: Option<(ConsoleInput, tokio::task::JoinHandle<()>, DropGuard)>,
    /// Whether there is none that this daemon could open.
    no_console: bool,
    reopen: Instant,
    look: Instant,
    /// How the guest was when it was last looked at, or made so.
    looked: Health,
    /// How many questions in a row its hypervisor has not answered.
    unanswered: u32,
    /// The boot that the guest said it is in, and when it was last told that it booted by itself.
    boot: Option<BootId>,
    told_boot: Option<Instant>,
    /// The boot that was ended by a reset: what is still said of it is of the past.
    past: Option<BootId>,
}

/// What a guest's being ready tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ready {
    /// Nothing new.
    Known,
    /// It is.
    First,
    /// It is again, in another boot than before, by its own doing.
    BootedAnew,
}

impl Attached {
    pub(super) async fn new(instance: Instance, launched: Timestamp, hypervisors: &Hypervisors) -> Self {
        let driver = hypervisors.get(instance.kind).cloned();
        let now = Instant::now();
        let mut this = Self {
            instance,
            launched,
            killed: None,
            bye: false,
            ready: false,
            driver,
            agent: None,
            console: None,
            no_console: false,
            reopen: now,
            look: now + RESUME_EVERY,
            looked: Health::Sound,
            unanswered: 0,
            boot: None,
            told_boot: None,
            past: None,
        };
        this.open().await;
        this
    }

    /// Opens what is not open of its console and its agent channel.
    async fn open(&mut self) {
        let vm = self.instance.vm;
        if self.agent.is_none() {
            match AgentChannel::open(&self.instance).await {
                Ok(agent) => self.agent = Some(agent),
                Err(error) => tracing::debug!(%vm, %error, "no agent channel"),
            }
        }
        if self.console.is_none() && !self.no_console {
            match ConsolePump::open(&self.instance).await {
                Ok((pump, input)) => {
                    let stop = CancellationToken::new();
                    let guard = stop.clone().drop_guard();
                    let task = tokio::spawn(async move {
                        if let Err(error) = pump.run(stop).await {
                            tracing::debug!(%vm, %error, "console closed");
                        }
                    });
                    self.console = Some((input, task, guard));
                }
                // Its spec has it lead elsewhere.
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.no_console = true,
                Err(error) => tracing::debug!(%vm, %error, "no console"),
            }
        }
        self.reopen = Instant::now() + REOPEN;
    }

    pub(super) fn console(&self) -> Console {
        Console {
            running: true,
            input: self.console.as_ref().map(|(input, ..)| input.clone()),
        }
    }

    /// Waits until something happens. May be dropped and called again.
    pub(super) async fn happens(&mut self) -> Happened {
        loop {
            let complete = self.agent.is_some() && (self.console.is_some() || self.no_console);
            tokio::select! {
                // An end is told before what was said before it: whoever ended is not spoken to.
                biased;
                exit = self.instance.exited() => match exit {
                    Ok(exit) => return Happened::Exited(exit),
                    // A fault of the looking is no end.
                    Err(error) => {
                        tracing::warn!(vm = %self.instance.vm, %error, "can't tell whether its process has ended");
                        tokio::time::sleep(REOPEN).await;
                    }
                },
                said = said(&mut self.agent) => match said {
                    Ok(said) => return Happened::Said(said),
                    Err(error) => {
                        tracing::debug!(vm = %self.instance.vm, %error, "agent channel lost");
                        self.agent = None;
                        self.reopen = Instant::now() + REOPEN;
                    }
                },
                () = closed(&mut self.console) => {
                    self.console = None;
                    self.reopen = Instant::now() + REOPEN;
                    return Happened::Console;
                }
                () = tokio::time::sleep_until(self.reopen), if !complete => {
                    let console = self.console.is_some();
                    self.open().await;
                    if self.console.is_some() != console {
                        return Happened::Console;
                    }
                }
                () = tokio::time::sleep_until(self.look) => {
                    if let Some(health) = self.look().await {
                        return Happened::Is(health);
                    }
                }
            }
        }
    }

    /// Asks the hypervisor how the guest is, and lets one go on that is held. `None` when nothing has changed.
    pub(super) async fn look(&mut self) -> Option<Health> {
        // First: this may be dropped while it waits.
        self.look = Instant::now()
            + match self.looked {
                Health::Stalled(_) | Health::Mute(_) => RESUME_EVERY,
                _ => LOOK_EVERY,
            };
        let driver = self.driver.as_ref()?;
        let status = driver.status(&self.instance).await;
        let Status::Unknown(why) = &status else {
            self.unanswered = 0;
            return self.answered(status).await;
        };
        self.unanswered = self.unanswered.saturating_add(1);
        self.look = Instant::now() + RESUME_EVERY;
        if self.unanswered < MUTE_AFTER || matches!(self.looked, Health::Mute(_)) {
            return None;
        }
        self.is(Health::Mute(format!(
            "its hypervisor, process {}, does not answer: {why}; its guest may run on, and can't be held, reset or changed until \
             it does; `chv vm kill` ends it",
            self.instance.process.pid
        )))
    }

    /// What its hypervisor says of the guest. `None` when nothing has changed.
    async fn answered(&mut self, status: Status) -> Option<Health> {
        let driver = self.driver.as_ref()?;
        match status {
            Status::Broken(how) => Some(Health::Broken(how)),
            Status::Stalled(why) => {
                // What it says now comes of this try: it is looked at the next time.
                if let Err(error) = driver.resume(&self.instance).await {
                    tracing::debug!(vm = %self.instance.vm, %error, "held");
                }
                self.look = Instant::now() + RESUME_EVERY;
                let known = matches!(self.looked, Health::Stalled(_));
                self.looked = Health::Stalled(why.clone());
                (!known).then_some(Health::Stalled(why))
            }
            Status::Running => self.is(Health::Sound),
            Status::Paused => self.is(Health::Paused),
            Status::Booting | Status::ShuttingDown | Status::Gone(_) | Status::Unknown(_) => None,
        }
    }

    /// How it is now; `None` when that is known.
    fn is(&mut self, now: Health) -> Option<Health> {
        let news = self.looked != now;
        self.looked = now.clone();
        news.then_some(now)
    }

    /// Holds it.
    pub(super) async fn pause(&mut self) -> Result<(), HypervisorError> {
        let driver = self.driver(Operation::Pause)?;
        driver.pause(&self.instance).await?;
        self.looked = Health::Paused;
        Ok(())
    }

    /// Lets it run on.
    pub(super) async fn resume(&mut self) -> Result<(), HypervisorError> {
        let driver = self.driver(Operation::Resume)?;
        driver.resume(&self.instance).await?;
        self.looked = Health::Sound;
        Ok(())
    }

    /// Makes something else of it.
    pub(super) async fn change(&self, changing: &Changing<'_>) -> Result<(), HypervisorError> {
        let driver = self.driver(Operation::Change)?;
        driver.change(&self.instance, changing).await
    }

    /// Presses its reset button.
    pub(super) async fn reset(&mut self) -> Result<(), HypervisorError> {
        let driver = self.driver(Operation::Reset)?;
        driver.reset(&self.instance).await?;
        self.looked = Health::Sound;
        Ok(())
    }

    /// It has been reset: what its guest said of itself is of the past.
    pub(super) fn booted(&mut self) {
        self.past = self.boot.take();
        self.ready = false;
        self.bye = false;
    }

    /// The guest says that it is ready, in this boot, if it says in which.
    pub(super) fn is_ready(&mut self, boot: Option<BootId>) -> Ready {
        if boot.is_some() && boot == self.past {
            return Ready::Known;
        }
        let before = match &boot {
            Some(_) => std::mem::replace(&mut self.boot, boot.clone()),
            None => None,
        };
        if !std::mem::replace(&mut self.ready, true) {
            return Ready::First;
        }
        let anew = before.is_some() && before != boot;
        // Its word is a guest's: it must not fill the log.
        let often = self.told_boot.is_some_and(|told| told.elapsed() < TELL_BOOT);
        if !anew || often {
            return Ready::Known;
        }
        self.told_boot = Some(Instant::now());
        Ready::BootedAnew
    }

    fn driver(&self, operation: Operation) -> Result<Arc<dyn Hypervisor>, HypervisorError> {
        self.driver.clone().ok_or_else(|| self.no_driver(operation))
    }

    /// Asks the guest to power off, in every way that there is. Says whether any of them was taken.
    pub(super) async fn press_power_button(&mut self) -> Result<(), HypervisorError> {
        let asked = match &mut self.agent {
            Some(agent) if agent.is_connected() && self.ready => agent.send(ToGuest::PowerOff).await.is_ok(),
            Some(_) | None => false,
        };
        let Some(driver) = &self.driver else {
            return if asked {
                Ok(())
            } else {
                Err(self.no_driver(Operation::PowerButton))
            };
        };
        match driver.press_power_button(&self.instance).await {
            Err(_) if asked => Ok(()),
            pressed => pressed,
        }
    }

    /// Ends the process, and waits until it is gone.
    pub(super) async fn kill(&self) -> Result<Exit, HypervisorError> {
        if let Some(driver) = &self.driver {
            return driver.kill(&self.instance).await;
        }
        let vm = self.instance.vm;
        let operation = Operation::Kill;
        let failed = |error: io::Error| HypervisorError::Api {
            operation,
            vm,
            why: error.to_string(),
        };
        self.instance.process.kill().map_err(failed)?;
        match tokio::time::timeout(KILL_LIMIT, self.instance.exited()).await {
            Ok(exit) => exit.map_err(failed),
            Err(_) => Err(HypervisorError::Timeout {
                operation,
                vm,
                after: KILL_LIMIT,
            }),
        }
    }

    fn no_driver(&self, operation: Operation) -> HypervisorError {
        let why = format!("{} is not installed any more", self.instance.kind);
        HypervisorError::Api {
            operation,
            vm: self.instance.vm,
            why,
        }
    }
}

async fn said(agent: &mut Option<AgentChannel>) -> Result<FromGuest, crate::hypervisor::AgentError> {
    match agent {
        Some(agent) => agent.next().await,
        None => std::future::pending().await,
    }
}

async fn closed(console: &mut Option<(ConsoleInput, tokio::task::JoinHandle<()>, DropGuard)>) {
    match console {
        // Its task ends by itself; that it was aborted or has panicked closes the console too.
        Some((_, task, _)) => drop(task.await),
        None => std::future::pending().await,
    }
}
