//! PID 1: the order in which a guest comes up, and the one loop that decides when it goes down.
//!
//! Nothing here ends the process: a PID 1 that ends is a kernel panic. What fails is said on the console and the
//! guest goes on without it.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use crate::channel::{self, Addresses};
use crate::cmdline::{self, Settings};
use crate::event::{Down, Event, Why, spawn};
use crate::uptime::uptime_ms;
use crate::{console, hotplug, modules, mount, net, power, signals};

/// How long being ready waits for an address.
const ADDRESS_WAIT: Duration = Duration::from_secs(5);

/// Brings the guest up, and runs it until it is powered off.
pub fn run() -> ! {
    mount::all();
    console::attach();
    let settings = settings();
    if let Some(name) = &settings.name
        && let Err(error) = nix::unistd::sethostname(name.as_ref())
    {
        say!("can't set the hostname {}: {error}", name.as_ref());
    }
    modules::load_all();
    hotplug::take_memory();

    let (events, happened) = sync_channel(8);
    start(&settings, &events);
    let addresses = Addresses::new();
    let asked = wait_for_address(&happened, &addresses);
    say_ready(&addresses);
    let mine = addresses.clone();
    let to_main = events.clone();
    spawn("channel", move || channel::serve(&mine, &to_main));
    let (down, why) = asked.unwrap_or_else(|| wait_for_power_off(&happened, &addresses));
    drop(events);
    power::go(down, why)
}

/// Brings up a guest whose init does something else than uOS: the usual file systems, the console, the packed modules,
/// and the network as the kernel's command line has it.
pub fn prepare() {
    mount::all();
    console::attach();
    modules::load_all();
    let (events, _) = sync_channel(1);
    net::run(settings().net, &events);
}

fn settings() -> Settings {
    let line = std::fs::read_to_string("/proc/cmdline").unwrap_or_else(|error| {
        say!("can't read the kernel command line: {error}");
        String::new()
    });
    let (settings, errors) = cmdline::parse(&line);
    for error in errors {
        say!("{error}");
    }
    settings
}

fn start(settings: &Settings, events: &SyncSender<Event>) {
    signals::handle(events.clone());
    let mode = settings.net;
    let to_main = events.clone();
    spawn("net", move || net::run(mode, &to_main));
    let to_main = events.clone();
    spawn("button", move || power::watch_button(&to_main));
    let to_main = events.clone();
    spawn("console", move || console::serve(&to_main));
    spawn("processors", hotplug::take_processors);
}

/// Waits until the NIC has its address, or it is known to get none, or that took too long.
fn wait_for_address(happened: &Receiver<Event>, addresses: &Addresses) -> Option<(Down, Why)> {
    let deadline = Instant::now() + ADDRESS_WAIT;
    match happened.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(Event::PowerOff(why)) => Some((Down::Off, why)),
        Ok(Event::Reboot(why)) => Some((Down::Reboot, why)),
        Ok(Event::Address(address)) => {
            addresses.set(address);
            None
        }
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            say!("no address after {} s; going on without", ADDRESS_WAIT.as_secs());
            None
        }
    }
}

fn say_ready(addresses: &Addresses) {
    let address = addresses
        .get()
        .first()
        .map_or_else(|| "none".to_owned(), ToString::to_string);
    say!(
        "ready uptime_ms={} kernel={} address={address}",
        uptime_ms(),
        kernel_release()
    );
}

fn wait_for_power_off(happened: &Receiver<Event>, addresses: &Addresses) -> (Down, Why) {
    loop {
        match happened.recv() {
            Ok(Event::PowerOff(why)) => return (Down::Off, why),
            Ok(Event::Reboot(why)) => return (Down::Reboot, why),
            Ok(Event::Address(address)) => {
                match address {
                    Some(address) => say!("address {address}"),
                    None => say!("no address any more"),
                }
                addresses.set(address);
            }
            // Not possible while `run` holds a sender; waiting is the harmless answer.
            Err(_) => std::thread::park(),
        }
    }
}

/// The release of the running kernel, as `uname -r` gives it.
pub(crate) fn kernel_release() -> String {
    nix::sys::utsname::uname().map_or_else(
        |_| "unknown".to_owned(),
        |name| name.release().to_string_lossy().into_owned(),
    )
}
