//! The process: opens what its arguments name, and carries what is said between its sockets, its guest and its monitor,
//! until the guest is off or the script has it die.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::FromRawFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::args::Args;
use crate::guest::Guest;
use crate::port::Port;
use crate::qmp::{Answer, GREETING, Qmp, event};
use crate::script::{Fault, Script};

/// A machine's process.
#[derive(Debug)]
struct Machine {
    args: Args,
    script: Script,
    guest: Guest,
    monitor: Port,
    /// The conversation with the monitor's client; `None` when it is answered no more.
    qmp: Option<Qmp>,
    console: Port,
    log: File,
    agent: Port,
}

/// Runs a machine until its guest is off.
///
/// # Errors
/// What QEMU ends for.
pub(crate) fn run(args: Args) -> Result<(), String> {
    let mut machine = Machine::build(args)?;
    while !machine.guest.is_off() {
        machine.wait()?;
        let now = Instant::now();
        machine.script = Script::read(&machine.args.kernel)?;
        machine.guest.tick(&machine.script, now);
        machine.monitor(now)?;
        machine.guest_hears()?;
        machine.carry()?;
    }
    let by = serde_json::json!({"guest": true, "reason": "guest-shutdown"});
    machine.monitor.say(&event("SHUTDOWN", Some(by)));
    Ok(())
}

impl Machine {
    fn build(args: Args) -> Result<Self, String> {
        let at = |path: &Path| {
            let path = path.display().to_string();
            move |error: std::io::Error| format!("{path}: {error}")
        };
        let script = Script::read(&args.kernel)?;
        if script.at("start") == Some(Fault::Die) {
            return Err("it ends at its start, as the script says".to_owned());
        }
        for file in &args.files {
            File::open(file).map_err(at(file))?;
        }
        // SAFETY: the daemon opened it for this process, which uses it nowhere else.
        let monitor = unsafe { UnixListener::from_raw_fd(args.qmp) };
        let listen = |path: &Path| UnixListener::bind(path).and_then(Port::new).map_err(at(path));
        let (socket, log) = &args.console;
        let mut machine = Self {
            monitor: Port::new(monitor).map_err(|error| format!("QMP: {error}"))?,
            qmp: None,
            console: listen(socket)?,
            log: OpenOptions::new()
                .create(true)
                .append(true)
                .open(log)
                .map_err(at(log))?,
            agent: listen(&args.agent)?,
            guest: Guest::power_on(&script, Instant::now()),
            script,
            args,
        };
        machine.carry()?;
        Ok(machine)
    }

    /// Waits until somebody says something, or the guest's time has come.
    fn wait(&self) -> Result<(), String> {
        // What is said to a guest that doesn't hear stays where it is.
        let hears = self.guest.hears();
        let others = [&self.console, &self.agent].into_iter();
        let mut fds: Vec<PollFd<'_>> = [&self.monitor]
            .into_iter()
            .chain(others.filter(|port| hears || !port.has_client()))
            .map(|port| PollFd::from_borrowed_fd(port.waits_for(), PollFlags::IN))
            .collect();
        let left = self
            .guest
            .due()
            .map(|due| due.saturating_duration_since(Instant::now()));
        let left = left
            .map(Timespec::try_from)
            .transpose()
            .map_err(|error| error.to_string())?;
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(format!("waiting: {error}")),
        }
    }

    /// Answers on the monitor.
    fn monitor(&mut self, now: Instant) -> Result<(), String> {
        if self.monitor.accept().map_err(|error| format!("QMP: {error}"))? {
            match self.script.at("greeting") {
                Some(Fault::Die) => return Err("it ends before its greeting, as the script says".to_owned()),
                Some(Fault::Half) => {
                    self.monitor.say(&GREETING[..GREETING.len() / 2]);
                    self.monitor.hang_up();
                }
                Some(_) => self.qmp = None,
                None => {
                    self.monitor.say(GREETING);
                    self.qmp = Some(Qmp::default());
                }
            }
        }
        for line in self.monitor.lines() {
            let Some(qmp) = &mut self.qmp else { continue };
            match qmp.hear(&line, &mut self.guest, &self.script, now) {
                Answer::Say(text) => self.monitor.say(&text),
                Answer::SayAndHangUp(text) => {
                    self.monitor.say(&text);
                    self.monitor.hang_up();
                }
                Answer::Hang => self.qmp = None,
                Answer::Die => return Err("it ends at a request, as the script says".to_owned()),
            }
        }
        Ok(())
    }

    /// Lets the guest hear what is said to it, while it does.
    fn guest_hears(&mut self) -> Result<(), String> {
        self.console
            .accept()
            .map_err(|error| format!("the console: {error}"))?;
        let came = self
            .agent
            .accept()
            .map_err(|error| format!("the agent's socket: {error}"))?;
        if !self.guest.hears() {
            return Ok(());
        }
        if came {
            self.guest.say_ready(&self.script);
        }
        for line in self.console.lines() {
            self.guest.hears_typed(&line, &self.script);
        }
        for line in self.agent.lines() {
            self.guest.hears_agent(&line, &self.script);
        }
        Ok(())
    }

    /// Carries what the guest has said.
    fn carry(&mut self) -> Result<(), String> {
        let said = std::mem::take(&mut self.guest.said);
        if !said.console.is_empty() {
            self.log
                .write_all(said.console.as_bytes())
                .map_err(|error| format!("the console's log: {error}"))?;
            self.console.say(&said.console);
        }
        if !said.agent.is_empty() {
            self.agent.say(&said.agent);
        }
        Ok(())
    }
}
