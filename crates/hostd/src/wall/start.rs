//! Has a launcher start a program, and waits until it has begun. Blocks.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use chv_domain::VmId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::order::{Order, Showing, Task};
use crate::hypervisor::Process;

/// How long a launcher may take. It does nothing that waits for anybody, but the host may be busy.
const LIMIT: Duration = Duration::from_secs(20);

/// The most that it says, in bytes.
const MAX_ANSWER: u64 = 8192;

/// The most descriptors that a launcher is given.
pub(super) const MOST_HANDED: usize = 16;

/// The first argument of a launcher.
pub const LAUNCH: &str = "launch";

/// This program, also after it was replaced on the disk.
pub(super) const PROGRAM: &str = "/proc/self/exe";

#[cfg(not(test))]
const ARGS: &[&str] = &[LAUNCH];

/// This program is one of tests, one of which is the launcher.
#[cfg(test)]
pub(super) const ARGS: &[&str] = &[
    "--exact",
    "wall::tests::launcher",
    "--ignored",
    "--quiet",
    "--nocapture",
    "--test-threads=1",
];

/// Starts what `order` says for `vm`. What it writes goes to `log`. It has begun when this returns, and may have ended.
pub(crate) fn start(vm: VmId, order: Order, log: File) -> io::Result<Process> {
    let kept = order.descriptors();
    begun(&ask(
        &format!("chv-keep-{vm}"),
        &Task::Launch(order.into()),
        kept,
        log.into(),
    )?)
}

/// Lets a program that runs behind its wall find one more file, or not any more.
pub(crate) fn show(showing: Showing) -> io::Result<()> {
    let answer = ask("chv-show", &Task::Show(showing), Vec::new(), Stdio::null())?;
    let failed = answer.lines().find_map(|line| line.strip_prefix("failed "));
    match failed {
        Some(why) => Err(io::Error::other(why.to_owned())),
        None if answer.lines().any(|line| line == "shown") => Ok(()),
        None => Err(early(&answer)),
    }
}

/// Gives a launcher, called `name`, its task, and hears what it says. It has the descriptors `kept`.
fn ask(name: &str, task: &Task, kept: Vec<RawFd>, errors: Stdio) -> io::Result<String> {
    let text = serde_json::to_vec(task)?;
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = Command::new(PROGRAM);
    command
        .arg0(name)
        .args(ARGS)
        .env_clear()
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::piped())
        .stderr(errors);
    // Nothing is done between fork and exec: so this process's memory is not copied, which took longer than all the rest.
    let mut launcher = Launcher(command.spawn()?);
    drop(command);
    hand_over(ours, &text, &kept)?;
    let answer = launcher.0.stdout.take().map(answer).transpose()?;
    Ok(answer.unwrap_or_default())
}

/// A launcher, which ends by itself at once.
struct Launcher(Child);

impl Drop for Launcher {
    fn drop(&mut self) {
        // Fails when it has ended. It is no hypervisor's parent.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends a launcher its task, with the descriptors of this process that it needs.
pub(super) fn hand_over(mut to: UnixStream, text: &[u8], kept: &[RawFd]) -> io::Result<()> {
    // SAFETY: open until the launcher has answered: whoever asks has them open.
    let kept: Vec<BorrowedFd<'_>> = kept
        .iter()
        .map(|&fd| unsafe { BorrowedFd::borrow_raw(fd) })
        .collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_HANDED))];
    let mut handed = SendAncillaryBuffer::new(&mut space);
    if !kept.is_empty() && !handed.push(SendAncillaryMessage::ScmRights(&kept)) {
        return Err(io::Error::other("too many descriptors for a launcher"));
    }
    let sent = sendmsg(&to, &[IoSlice::new(text)], &mut handed, SendFlags::NOSIGNAL)?;
    to.write_all(&text[sent..])?;
    to.shutdown(Shutdown::Write)
}

/// What is said until nobody is left who could say more.
fn answer(mut pipe: ChildStdout) -> io::Result<String> {
    let until = Instant::now() + LIMIT;
    let mut answer = Vec::new();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut fds = [PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN)];
        if poll(&mut fds, Some(&left))? == 0 {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("not begun within {LIMIT:?}"),
            ));
        }
        let mut chunk = [0; 512];
        match pipe.read(&mut chunk)? {
            length @ 1.. if (answer.len() as u64) < MAX_ANSWER => answer.extend_from_slice(&chunk[..length]),
            _ => return Ok(String::from_utf8_lossy(&answer).into_owned()),
        }
    }
}

fn begun(answer: &str) -> io::Result<Process> {
    let mut process = None;
    for line in answer.lines() {
        if let Some(why) = line.strip_prefix("failed ") {
            return Err(io::Error::other(why.to_owned()));
        }
        if let Some((pid, start)) = line.strip_prefix("runs ").and_then(|rest| rest.split_once(' '))
            && let (Ok(pid), Ok(start_time_ticks)) = (pid.parse(), start.parse())
        {
            process = Some(Process {
                pid,
                start_time_ticks,
            });
        }
    }
    process.ok_or_else(|| early(answer))
}

fn early(answer: &str) -> io::Error {
    io::Error::other(format!("the launcher ended early; it said {answer:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_what_a_launcher_says_then_it_runs_or_has_failed() {
        let process = Process {
            pid: 7,
            start_time_ticks: 11,
        };
        assert_eq!(begun("runs 7 11\n").unwrap(), process);
        for (answer, why) in [
            ("runs 7 11\nfailed /dev: no\n", "/dev: no"),
            ("failed /dev: no\nruns 7 11\n", "/dev: no"),
            ("", "ended early"),
            ("runs 7\n", "ended early"),
        ] {
            let error = begun(answer).unwrap_err().to_string();
            assert!(error.contains(why), "{answer}: {error}");
        }
    }
}
