//! uOS, the guest of Chronovisor: what runs as PID 1 inside a microVM, and what packs it into an initramfs.
//!
//! The init starts no programs and stores nothing: it brings a guest up, says so to its host, and powers off when
//! asked. What the host does with that is not here; `protocol` is all that the two share.

/// Says a line on the guest's console. A console that can't be written to is no reason to stop.
macro_rules! say {
    ($($words:tt)*) => { $crate::console::say(format_args!($($words)*)) };
}

pub mod cidr;
pub mod cmdline;
pub mod init;
pub mod pack;
pub mod protocol;

mod channel;
mod console;
mod event;
mod hotplug;
mod lines;
mod machine;
mod modules;
mod mount;
mod net;
mod power;
mod signals;
mod uptime;
