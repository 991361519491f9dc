//! How a VM's process ended, noted in its run directory by the process that waited for it: the daemon is no parent of
//! a hypervisor, and may not even run when it ends.
//!
//! One line: `<version> <pid> <start time> <code|signal> <number>`.

use std::io;
use std::path::Path;

use crate::hypervisor::{Exit, Process};
use crate::version;

/// Notes in `path` that `process` ended so. Blocks on the file system.
pub(super) fn write(path: &Path, process: Process, exit: Exit) -> io::Result<()> {
    let (word, number) = match exit {
        Exit::Code(code) => ("code", code),
        Exit::Signal(signal) => ("signal", signal),
        Exit::Unobserved => return Ok(()),
    };
    let Process {
        pid,
        start_time_ticks,
    } = process;
    let new = path.with_extension("new");
    std::fs::write(
        &new,
        version::line(format_args!("{pid} {start_time_ticks} {word} {number}")),
    )?;
    std::fs::rename(new, path)
}

/// The process that ended last, and how; `None` when that was not noted. Blocks on the file system.
pub(crate) fn read(path: &Path) -> Option<(Process, Exit)> {
    let Ended(process, exit) = version::of_line(&std::fs::read_to_string(path).ok()?).ok()?;
    Some((process, exit))
}

struct Ended(Process, Exit);

impl std::str::FromStr for Ended {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or("is no end of a process")
    }
}

fn parse(text: &str) -> Option<Ended> {
    let mut words = text.split(' ');
    let process = Process {
        pid: words.next()?.parse().ok()?,
        start_time_ticks: words.next()?.parse().ok()?,
    };
    let (word, number) = (words.next()?, words.next()?.parse().ok()?);
    let exit = match word {
        "code" => Exit::Code(number),
        "signal" => Exit::Signal(number),
        _ => return None,
    };
    words.next().is_none().then_some(Ended(process, exit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_end_is_written_as_it_was_and_read_as_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("end");
        assert_eq!(read(&path), None);
        let process = Process {
            pid: 7,
            start_time_ticks: 11,
        };
        for exit in [Exit::Code(3), Exit::Signal(9)] {
            write(&path, process, exit).unwrap();
            assert_eq!(read(&path), Some((process, exit)));
        }
        version::assert_golden("end", &std::fs::read(&path).unwrap());
        // and what is none is not taken for one.
        for text in [
            "",
            "1 7",
            "1 7 11 code",
            "1 7 11 code 3 4",
            "2 7 11 code 3",
            "1 7 11 luck 3",
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read(&path), None, "{text}");
        }
    }
}
