//! What the servers cost, as the kernel tells: processor time, memory and disk; and how busy the machine is.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

/// Above this load average figures are not worth much.
const QUIET: f64 = 0.7;

/// The load average of the last minute, when it is high.
pub(crate) fn busy() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    let load: f64 = text.split(' ').next()?.parse().ok()?;
    (load > QUIET).then_some(load)
}

/// The processor time that these processes have used, in user and kernel mode, all their threads.
pub(crate) fn processor_time(pids: &[u32]) -> Result<Duration> {
    pids.iter().map(|pid| processor_time_of(*pid)).sum()
}

fn processor_time_of(pid: u32) -> Result<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("a server has ended")?;
    // The program's name, in brackets, may hold anything; utime and stime are the 12th and 13th field after it.
    let (_, fields) = text.rsplit_once(')').context("no process's state")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |index: usize| -> Result<u64> { Ok(fields.get(index).context("a short state")?.parse()?) };
    // SAFETY: takes no pointers.
    let a_second = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) })?;
    let milliseconds = (ticks(11)? + ticks(12)?) * 1_000 / a_second;
    Ok(Duration::from_millis(milliseconds))
}

/// The memory that a process holds, in bytes.
pub(crate) fn resident(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).context("a server has ended")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line
        .and_then(|line| line.split_whitespace().next())
        .context("a process says how much memory it holds")?
        .parse()?;
    Ok(kib << 10)
}

/// What the files below a directory take up on the disk, in bytes, as `du` counts.
pub(crate) fn disk_usage(directory: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        // A file may go while this looks.
        let Ok(metadata) = entry.metadata() else { continue };
        sum += metadata.blocks() * 512;
        if metadata.is_dir() {
            sum += disk_usage(&entry.path())?;
        }
    }
    Ok(sum)
}

/// What a reader must know of the machine: cores, memory and kernel.
pub(crate) fn machine() -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    let kib: u64 = memory
        .split_whitespace()
        .nth(1)
        .context("the kernel tells how much memory there is")?
        .parse()?;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!(
        "{cores} cores, {} GiB of memory, Linux {}",
        kib >> 20,
        kernel.trim()
    ))
}
