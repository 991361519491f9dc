//! One process of the operating system, told from every other that had or will have its number. Knows
//! nothing of machines.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How long a killed process may take to be gone. Only one that the kernel can't let go of takes longer.
pub(crate) const KILL_LIMIT: Duration = Duration::from_secs(10);

/// A process. Its number alone would name another process once it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since the host booted (`starttime` of `/proc/<pid>/stat`).
    pub start_time_ticks: u64,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It returned this status.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It is gone, and how is not known: it was not this daemon's child, or its end was told to another waiter
    /// already.
    Unobserved,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "ended with status {code}"),
            Self::Signal(signal) => write!(f, "was ended by signal {signal}"),
            Self::Unobserved => f.write_str("is gone"),
        }
    }
}

impl Process {
    /// The process that has the number `pid` now; `None` when there is none.
    pub fn of(pid: u32) -> io::Result<Option<Self>> {
        let stat = match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) => stat,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let start_time_ticks = start_time(&stat).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("/proc/{pid}/stat has no start time: {stat:?}"),
            )
        })?;
        Ok(Some(Self {
            pid,
            start_time_ticks,
        }))
    }

    /// A handle that can't come to mean another process; `None` when this one is gone for good. One that
    /// has ended and was not waited for by its parent is not.
    pub(crate) fn open(&self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        let pidfd = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Ok(pidfd) => pidfd,
            Err(Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Only after the handle exists: whoever has the number now is the one that the handle is for, or
        // came after it.
        Ok((Self::of(self.pid)? == Some(*self)).then_some(pidfd))
    }

    /// The words of its command line; empty when it is gone, ending, or only just starting.
    pub(super) fn command_line(&self) -> io::Result<Vec<String>> {
        let bytes = match std::fs::read(format!("/proc/{}/cmdline", self.pid)) {
            Ok(bytes) => bytes,
            Err(error) if is_gone(&error) => Vec::new(),
            Err(error) => return Err(error),
        };
        // Read before it is looked at whose it was.
        if Self::of(self.pid)? != Some(*self) {
            return Ok(Vec::new());
        }
        let words = bytes.split(|&byte| byte == 0).filter(|word| !word.is_empty());
        Ok(words
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect())
    }

    /// How it ended, when it has; its end stays to be told by [`Process::exited`]. Doesn't wait.
    pub fn has_ended(&self) -> io::Result<Option<Exit>> {
        let Some(pidfd) = self.open()? else {
            return Ok(Some(Exit::Unobserved));
        };
        match wait(&pidfd, WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT)? {
            Some(Waited::Ended(exit)) => Ok(Some(exit)),
            Some(Waited::NotOurs) if is_zombie(self.pid)? => Ok(Some(Exit::Unobserved)),
            Some(Waited::NotOurs) | None => Ok(None),
        }
    }

    /// Resolves when it has ended. A child of this daemon is also reaped by this, and only by this: run it
    /// once for every process launched. May be dropped and called again.
    pub async fn exited(&self) -> io::Result<Exit> {
        let Some(pidfd) = self.wait_for_end().await? else {
            return Ok(Exit::Unobserved);
        };
        match wait(&pidfd, WaitIdOptions::NOHANG)? {
            Some(Waited::Ended(exit)) => Ok(exit),
            Some(Waited::NotOurs) | None => Ok(Exit::Unobserved),
        }
    }

    /// Resolves when it has ended, and leaves its end to be told by [`Process::exited`].
    pub(super) async fn ended(&self) -> io::Result<()> {
        self.wait_for_end().await.map(drop)
    }

    async fn wait_for_end(&self) -> io::Result<Option<OwnedFd>> {
        let Some(pidfd) = self.open()? else {
            return Ok(None);
        };
        // A pidfd becomes readable when its process has ended.
        // SAFETY: `AsyncFd` owns the descriptor, and an `OwnedFd` is the same one for as long as it lives.
        let pidfd = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }?;
        drop(pidfd.readable().await?);
        Ok(Some(pidfd.into_inner()))
    }

    /// Sends SIGKILL to it and to no other; nothing when it is gone. Doesn't wait for its end.
    pub fn kill(&self) -> io::Result<()> {
        let Some(pidfd) = self.open()? else { return Ok(()) };
        match pidfd_send_signal(&pidfd, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

enum Waited {
    Ended(Exit),
    /// Not a child of this process, or told already.
    NotOurs,
}

fn wait(pidfd: &OwnedFd, options: WaitIdOptions) -> io::Result<Option<Waited>> {
    match waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED | options) {
        Ok(None) => Ok(None),
        Ok(Some(status)) => Ok(Some(Waited::Ended(
            match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Exit::Code(code),
                (None, Some(signal)) => Exit::Signal(signal),
                (None, None) => Exit::Unobserved,
            },
        ))),
        Err(Errno::CHILD) => Ok(Some(Waited::NotOurs)),
        Err(error) => Err(error.into()),
    }
}

/// `/proc/<pid>` says ENOENT before it is looked into, and ESRCH after.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

/// The fields of a `stat` line from the third on. The second is the name, in parentheses, with anything in it.
fn fields(stat: &str) -> Option<impl Iterator<Item = &str>> {
    Some(stat.rsplit_once(')')?.1.split_ascii_whitespace())
}

fn start_time(stat: &str) -> Option<u64> {
    fields(stat)?.nth(22 - 3)?.parse().ok()
}

fn is_zombie(pid: u32) -> io::Result<bool> {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => Ok(fields(&stat)
            .and_then(|mut fields| fields.next())
            .is_some_and(|s| s == "Z" || s == "X")),
        Err(error) if is_gone(&error) => Ok(true),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A child that sleeps, and is ended with its test.
    struct Sleeper(Child);

    impl Drop for Sleeper {
        fn drop(&mut self) {
            // Both fail when the test has ended and reaped it.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn sleeper() -> (Sleeper, Process) {
        let child = Command::new("sleep")
            .arg("1000")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let process = Process::of(child.id()).unwrap().unwrap();
        (Sleeper(child), process)
    }

    #[test]
    fn given_a_name_with_parentheses_and_spaces_when_the_start_time_is_read_then_it_is_field_22() {
        let rest = (4..=52)
            .map(|field| field.to_string())
            .collect::<Vec<_>>()
            .join(" ");
        assert_eq!(start_time(&format!("1 (a) b (c) S {rest}")), Some(22));
        assert_eq!(start_time("1 (a"), None);
    }

    #[tokio::test]
    async fn given_a_running_child_when_killed_then_its_end_is_told_once_and_it_is_reaped() {
        let (_child, process) = sleeper();
        assert_eq!(process.has_ended().unwrap(), None);

        process.kill().unwrap();
        assert_eq!(process.exited().await.unwrap(), Exit::Signal(9));

        assert_eq!(Process::of(process.pid).unwrap(), None);
        assert_eq!(process.exited().await.unwrap(), Exit::Unobserved);
        process.kill().unwrap();
    }

    #[tokio::test]
    #[expect(clippy::zombie_processes, reason = "that `exited` reaps it is what is tested")]
    async fn given_a_child_that_returned_when_looked_at_then_its_status_stays_for_the_waiter() {
        let child = Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap();
        let process = Process::of(child.id()).unwrap().unwrap();
        loop {
            match process.has_ended().unwrap() {
                None => tokio::task::yield_now().await,
                Some(exit) => break assert_eq!(exit, Exit::Code(7)),
            }
        }
        assert_eq!(process.exited().await.unwrap(), Exit::Code(7));
    }

    #[tokio::test]
    async fn given_a_number_used_again_when_the_old_process_is_killed_then_the_new_one_lives() {
        // The number is the new process's; the start time is one that it never had.
        let (_child, process) = sleeper();
        let old = Process {
            start_time_ticks: process.start_time_ticks - 1,
            ..process
        };

        old.kill().unwrap();
        assert_eq!(old.exited().await.unwrap(), Exit::Unobserved);
        assert_eq!(old.has_ended().unwrap(), Some(Exit::Unobserved));
        assert!(old.command_line().unwrap().is_empty());

        assert_eq!(process.has_ended().unwrap(), None);
        // The kernel fills it in a moment after the program has started.
        while process.command_line().unwrap() != ["sleep", "1000"] {}
    }

    #[tokio::test]
    async fn given_a_process_that_is_no_child_when_it_ends_then_that_is_seen_without_a_status() {
        // The shell leaves its child behind, as a daemon that ends leaves its hypervisors.
        let script = "sleep 1000 >/dev/null 2>&1 & echo $!";
        let output = Command::new("sh").args(["-c", script]).output().unwrap();
        let pid = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
        let process = Process::of(pid).unwrap().unwrap();
        assert_eq!(process.has_ended().unwrap(), None);

        process.kill().unwrap();
        assert_eq!(process.exited().await.unwrap(), Exit::Unobserved);
        assert_eq!(process.has_ended().unwrap(), Some(Exit::Unobserved));
    }
}
