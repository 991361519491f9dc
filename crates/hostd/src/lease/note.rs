//! The end of a host's lease, noted where the guard and the next daemon read it. It counts for this boot of the machine
//! only: after another one no guest of before runs.

use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::SinceBoot;

/// The time by the clock that leases are counted on: that of the kernel that goes on while the machine sleeps.
pub fn now() -> SinceBoot {
    let now = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(now.tv_sec), u32::try_from(now.tv_nsec));
    SinceBoot(Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0)))
}

/// Reads the note; `None` when there is none of this boot, or none that can be read: then no lease is held.
pub(super) fn read(path: &Path) -> Option<SinceBoot> {
    parse(&std::fs::read_to_string(path).ok()?, &this_boot().ok()?)
}

/// The end that a note of the boot `this` names.
fn parse(text: &str, this: &str) -> Option<SinceBoot> {
    let (boot, nanos) = text.trim_end().split_once(' ')?;
    (boot == this).then_some(())?;
    Some(SinceBoot(Duration::from_nanos(nanos.parse().ok()?)))
}

fn form(boot: &str, until: SinceBoot) -> String {
    format!("{boot} {}\n", until.0.as_nanos())
}

/// Notes the end of the lease, in one piece. It need not survive the machine, so nothing is flushed.
pub(super) fn write(path: &Path, until: SinceBoot) -> io::Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, form(&this_boot()?, until))?;
    std::fs::rename(new, path)
}

fn this_boot() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim_end()
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_note_then_it_is_read_in_this_boot_and_in_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lease");
        assert_eq!(read(&path), None);
        let until = SinceBoot(now().0 + Duration::from_secs(7));
        write(&path, until).unwrap();
        assert_eq!(read(&path), Some(until));
        for text in ["another-boot 99", "", "7"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read(&path), None, "{text}");
        }
    }

    /// The guard of one version may read what the daemon of another one wrote.
    #[test]
    fn golden_note_is_written_as_it_was_and_read_as_what_it_is() {
        let kept = include_str!("../../tests/golden/lease");
        let boot = "7e2d5a0c-4d7c-4d0e-9f55-0d6c3c1b2a10";
        let until = SinceBoot(Duration::new(86_400, 7));
        assert_eq!(form(boot, until), kept);
        assert_eq!(parse(kept, boot), Some(until));
    }
}
