//! The guest that there isn't: what uOS does and says, as its host sees it. Knows no sockets; what it says is left for
//! whoever carries it. While it is held, its time stands still and it hears nothing.

use std::time::{Duration, Instant};

use crate::script::Script;

/// What the guest has said, and has not been carried yet.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// On its console.
    pub(crate) console: String,
    /// On its agent channel.
    pub(crate) agent: String,
}

/// Where in its life it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// It boots, and has so much of that before it.
    Boots(Duration),
    Up,
    Off,
}

/// A guest.
#[derive(Debug)]
pub(crate) struct Guest {
    life: Life,
    /// Since when it runs; `None` while it is held.
    running: Option<Instant>,
    /// Whether it was reset while it was held.
    anew: bool,
    /// Whether its button was pressed while it was held.
    pressed: bool,
    /// How often it has booted.
    boots: u32,
    /// What it has said.
    pub(crate) said: Said,
}

impl Guest {
    /// One that begins to boot.
    pub(crate) fn power_on(script: &Script, now: Instant) -> Self {
        let mut guest = Self {
            life: Life::Off,
            running: Some(now),
            anew: false,
            pressed: false,
            boots: 0,
            said: Said::default(),
        };
        guest.boot(script);
        guest
    }

    fn boot(&mut self, script: &Script) {
        self.life = Life::Boots(script.boot);
        self.boots += 1;
        self.said.console.push_str("Linux version 0 (no guest)\r\n");
    }

    /// Whether its vCPUs run.
    pub(crate) const fn runs(&self) -> bool {
        self.running.is_some()
    }

    /// What QEMU calls the state that it is in.
    pub(crate) const fn state(&self) -> &'static str {
        match (self.runs(), self.anew) {
            (true, _) => "running",
            (false, true) => "prelaunch",
            (false, false) => "paused",
        }
    }

    /// Whether it takes what is said to it.
    pub(crate) fn hears(&self) -> bool {
        self.runs() && self.life == Life::Up
    }

    /// Whether it has powered itself off.
    pub(crate) fn is_off(&self) -> bool {
        self.life == Life::Off
    }

    /// When it will do something by itself.
    pub(crate) fn due(&self) -> Option<Instant> {
        match (self.running, self.life) {
            (Some(since), Life::Boots(left)) => Some(since + left),
            _ => None,
        }
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, script: &Script, now: Instant) {
        if self.due().is_none_or(|due| now < due) {
            return;
        }
        self.life = Life::Up;
        self.running = Some(now);
        if !script.mute {
            self.said
                .console
                .push_str("chv-uos: ready uptime_ms=1 kernel=0 address=none\r\n");
            self.say_ready(script);
        }
    }

    /// Says on its agent channel that it is ready.
    pub(crate) fn say_ready(&mut self, script: &Script) {
        if !script.mute {
            let (pid, boots) = (std::process::id(), self.boots);
            self.said.agent.push_str(&format!(
                "ready {{\"version\":\"0\",\"kernel\":\"0\",\"boot\":\"{pid}-{boots}\",\"uptime_ms\":1,\"addresses\":[]}}\n"
            ));
        }
    }

    /// Holds it. Says whether it ran.
    pub(crate) fn hold(&mut self, now: Instant) -> bool {
        let Some(since) = self.running.take() else {
            return false;
        };
        if let Life::Boots(left) = &mut self.life {
            *left = left.saturating_sub(now.saturating_duration_since(since));
        }
        true
    }

    /// Lets it run on. Says whether it was held.
    pub(crate) fn go_on(&mut self, script: &Script, now: Instant) -> bool {
        if self.runs() {
            return false;
        }
        (self.running, self.anew) = (Some(now), false);
        if std::mem::take(&mut self.pressed) {
            self.press(script);
        }
        true
    }

    /// Resets it; held, it stays so.
    pub(crate) fn reset(&mut self, script: &Script, now: Instant) {
        self.anew = !self.runs();
        self.running = self.running.map(|_| now);
        self.pressed = false;
        self.boot(script);
    }

    /// Presses its power button. One that boots doesn't hear it.
    pub(crate) fn press(&mut self, script: &Script) {
        if !self.runs() {
            self.pressed = true;
        } else if self.life == Life::Up && !script.deaf {
            self.power_off("power button");
        }
    }

    fn power_off(&mut self, why: &str) {
        self.said.console.push_str(&format!(
            "chv-uos: powering off ({why})\r\nreboot: Power down\r\n"
        ));
        self.life = Life::Off;
    }

    /// Hears a line on its agent channel.
    pub(crate) fn hears_agent(&mut self, line: &str, script: &Script) {
        match line {
            "" => {}
            "status" => self.say_ready(script),
            "poweroff" if script.deaf => {}
            "poweroff" => {
                self.said.agent.push_str("bye\n");
                self.power_off("host");
            }
            other => self
                .said
                .agent
                .push_str(&format!("error unknown message `{other}`\n")),
        }
    }

    /// Hears a line that is typed on its console.
    pub(crate) fn hears_typed(&mut self, line: &str, script: &Script) {
        self.said.console.push_str(&format!("{line}\r\n"));
        match line.split_once(' ') {
            Some(("echo", words)) => self.said.console.push_str(&format!("chv-uos: {words}\r\n")),
            None if line == "poweroff" && !script.deaf => self.power_off("console"),
            _ => {}
        }
    }
}
