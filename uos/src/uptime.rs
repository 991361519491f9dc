//! How long the kernel has been running and which boot this is, and nothing else about time.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Time since the kernel's clock started.
pub(crate) fn uptime() -> Duration {
    // Linux always has this clock; a guest without it reads 0 rather than ending PID 1.
    clock_gettime(ClockId::CLOCK_BOOTTIME)
        .map(Duration::from)
        .unwrap_or_default()
}

/// The same in whole milliseconds.
pub(crate) fn uptime_ms() -> u64 {
    uptime().as_millis().try_into().unwrap_or(u64::MAX)
}

/// The kernel's random id of this boot; empty when it can't be read.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}
