//! What the guest's threads tell its main one: the only way in which they change anything.

use std::fmt;
use std::sync::mpsc::SyncSender;

use crate::cidr::Cidr;

/// What happened.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Somebody wants the guest off.
    PowerOff(Why),
    /// Somebody wants the guest to boot anew.
    Reboot(Why),
    /// The NIC has this address now, or it is known that it has none.
    Address(Option<Cidr>),
}

/// What the guest is to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Down {
    /// Stay off.
    Off,
    /// Boot anew.
    Reboot,
}

/// Who wants the guest off, or anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// The hypervisor pressed the power button.
    PowerButton,
    /// A line on the channel to the host.
    Host,
    /// A line typed on the console.
    Console,
    /// A signal to PID 1; Ctrl-Alt-Del is SIGINT.
    Signal(&'static str),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PowerButton => f.write_str("power button"),
            Self::Host => f.write_str("the host asked"),
            Self::Console => f.write_str("asked on the console"),
            Self::Signal(name) => f.write_str(name),
        }
    }
}

/// Tells the main thread. It never ends, so it always listens.
pub(crate) fn tell(events: &SyncSender<Event>, event: Event) {
    if events.send(event).is_err() {
        say!("nobody listens to events any more");
    }
}

/// Starts a thread of the guest. It lives as long as the guest does; one that can't start is told and missed.
pub(crate) fn spawn(name: &'static str, body: impl FnOnce() + Send + 'static) {
    // The deepest of these threads needs a few KiB of stack.
    let thread = std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(128 * 1024);
    if let Err(error) = thread.spawn(body) {
        say!("can't start the thread for {name}: {error}");
    }
}
