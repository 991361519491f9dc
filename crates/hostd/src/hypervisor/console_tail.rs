//! The last lines of a guest's console, for the event of its end. Where its kernel panicked, those from there on: after them it
//! writes more than is told.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::instance::on_a_blocking_thread;
use super::run_dir::RunDir;

/// The most that is told, in bytes and in lines.
const MOST: (usize, usize) = (2048, 20);

/// How far back a panic is looked for, in bytes.
const LOOKED_AT: usize = 16 << 10;

/// What a kernel says when it panics, and when it boots.
const PANIC: &str = "Kernel panic - not syncing";
const BOOT: &str = "Linux version ";

/// The last lines that the guest in `dir` wrote: none when it has written none, or they can't be read.
pub(crate) async fn console_tail(dir: &RunDir) -> String {
    let path = dir.console_log();
    on_a_blocking_thread(move || read(&path))
        .await
        .unwrap_or_default()
}

fn read(path: &Path) -> io::Result<String> {
    // In a directory that is the hypervisor's: no link is followed, and nothing is waited for.
    let mut file = File::options()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let length = metadata.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOOKED_AT as u64)))?;
    let mut tail = Vec::new();
    file.take(LOOKED_AT as u64).read_to_end(&mut tail)?;
    Ok(last_lines(&tail))
}

fn last_lines(tail: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(tail)
        .chars()
        .filter(|char| *char == '\n' || !char.is_control())
        .collect();
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    if let Some(panicked) = panicked(&lines) {
        let said = &lines[panicked..];
        let mut upto = said.len().min(MOST.1);
        while said[..upto].iter().map(|line| line.len() + 1).sum::<usize>() > MOST.0 && upto > 1 {
            upto -= 1;
        }
        return said[..upto].join("\n");
    }
    // What a replaced byte takes may be more than it took.
    let mut from = lines.len().saturating_sub(MOST.1);
    while lines[from..].iter().map(|line| line.len() + 1).sum::<usize>() > MOST.0 {
        from += 1;
    }
    lines[from..].join("\n")
}

/// Where the kernel that runs last says that it panics.
fn panicked(lines: &[&str]) -> Option<usize> {
    let booted = lines.iter().rposition(|line| line.contains(BOOT)).unwrap_or(0);
    let panics = |line: &&str| line.contains(PANIC) && line.len() < MOST.0;
    Some(booted + lines[booted..].iter().position(panics)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_console_then_its_last_lines_are_told_and_they_are_few() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        let all: String = (0..1000)
            .map(|line| format!("line {line}\r\n\u{1b}[0m\n"))
            .collect();
        std::fs::write(&path, &all).unwrap();
        let tail = read(&path).unwrap();
        assert!(tail.ends_with("line 998\n[0m\nline 999\n[0m"), "{tail}");
        assert_eq!(tail.lines().count(), MOST.1);
        // whatever they are made of.
        assert!(last_lines(&[0xff; 2048]).len() <= MOST.0);
        assert_eq!(last_lines(b"\n \n"), "");
        assert!(read(&dir.path().join("none")).is_err());
    }

    #[test]
    fn given_a_panic_then_what_is_told_begins_there_unless_another_kernel_has_booted_since() {
        let said = "[ 9.1] Kernel panic - not syncing: sysrq triggered crash";
        let trace: String = (0..200).map(|line| format!("[ 9.2]  call {line}\n")).collect();
        let panicked = format!("[ 0.0] Linux version 6\nready\n{said}\n{trace}");
        let told = last_lines(panicked.as_bytes());
        assert!(told.starts_with(said) && told.lines().count() == MOST.1, "{told}");
        let since = format!("{panicked}[ 0.0] Linux version 6\nready\n");
        assert!(last_lines(since.as_bytes()).ends_with("Linux version 6\nready"));
    }
}
