//! How long a process has run, by the kernel's count: a restarted daemon tells it as the first one would have.

use std::io;
use std::time::Duration;

use crate::hypervisor::Process;

/// How long `process` has run; to the hundredth of a second.
pub(crate) fn of(process: &Process) -> io::Result<Duration> {
    let text = std::fs::read_to_string("/proc/uptime")?;
    let since_boot = text
        .split(' ')
        .next()
        .and_then(|seconds| seconds.parse().ok())
        .map(Duration::from_secs_f64);
    let since_boot = since_boot.ok_or_else(|| io::Error::other(format!("/proc/uptime says {text:?}")))?;
    let started = process.start_time_ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
    Ok(since_boot.saturating_sub(Duration::from_secs_f64(started)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_this_process_then_it_has_run_for_less_than_the_machine() {
        let own = of(&Process::of(std::process::id()).unwrap().unwrap()).unwrap();
        let first = of(&Process {
            pid: 1,
            start_time_ticks: 0,
        })
        .unwrap();
        assert!(
            own < first && own < Duration::from_secs(3600),
            "{own:?} {first:?}"
        );
    }
}
