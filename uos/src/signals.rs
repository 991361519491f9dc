//! Signals to PID 1: children that ended are reaped, and a request to terminate powers the guest off.

use std::sync::mpsc::SyncSender;

use nix::sys::reboot::set_cad_enabled;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use crate::event::{Event, Why, spawn, tell};

/// Blocks the signals, in this thread and those that it starts later, and handles them in one of their own.
pub(crate) fn handle(events: SyncSender<Event>) {
    let signals: SigSet = [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT]
        .into_iter()
        .collect();
    if let Err(error) = signals.thread_block() {
        say!("can't block signals: {error}");
    }
    // Ctrl-Alt-Del becomes SIGINT instead of an immediate reset.
    if let Err(error) = set_cad_enabled(false) {
        say!("can't take over Ctrl-Alt-Del: {error}");
    }
    spawn("signals", move || {
        loop {
            match signals.wait() {
                Ok(Signal::SIGCHLD) => reap(),
                Ok(signal) => tell(&events, Event::PowerOff(Why::Signal(signal.as_str()))),
                Err(error) => return say!("can't wait for signals: {error}"),
            }
        }
    });
}

/// One SIGCHLD may stand for many children.
fn reap() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            return;
        }
    }
}
