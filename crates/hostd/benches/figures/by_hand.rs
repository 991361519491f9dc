//! The same hypervisor with the same arguments, started by a program that does nothing else: no daemon, no log, no wall.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::io::{FdFlags, fcntl_setfd};

/// A hypervisor's command line, to be started again.
#[derive(Debug, Clone)]
pub(crate) struct Words(Vec<String>);

impl Words {
    /// Of the process `pid`.
    pub(crate) fn of(pid: u32) -> Self {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        let words = String::from_utf8(words).unwrap();
        Self(
            words
                .trim_end_matches('\0')
                .split('\0')
                .map(str::to_owned)
                .collect(),
        )
    }

    /// Starts it in `dir`; how long that takes from `began` until it says that it runs.
    pub(crate) fn start(&self, program: &Path, dir: &Path, began: Instant) -> (Duration, Ended) {
        std::fs::create_dir(dir).unwrap();
        let socket = dir.join("api.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let mut command = Command::new(program);
        let fd = listener.as_raw_fd();
        let args = self.0[1..].iter().map(|word| with_descriptor(word, fd));
        command
            .arg0(&self.0[0])
            .args(args)
            .current_dir(dir)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        // SAFETY: one system call, which is async-signal-safe.
        unsafe {
            command.pre_exec(move || {
                let listener = std::os::fd::BorrowedFd::borrow_raw(fd);
                Ok(fcntl_setfd(listener, FdFlags::empty())?)
            });
        }
        let child = Ended(command.spawn().unwrap());
        wait_until_running(&UnixStream::connect(&socket).unwrap());
        (began.elapsed(), child)
    }
}

/// A process that is ended when it is dropped.
#[derive(Debug)]
pub(crate) struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn with_descriptor(word: &str, fd: i32) -> String {
    let Some(rest) = word.strip_prefix("socket,id=qmp,") else {
        return word.to_owned();
    };
    let more = rest.split_once(',').map_or("", |(_, more)| more);
    format!("socket,id=qmp,fd={fd},{more}")
}

fn wait_until_running(mut monitor: &UnixStream) {
    let mut lines = BufReader::new(monitor).lines();
    monitor
        .write_all(b"{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"query-status\"}\n")
        .unwrap();
    let status = lines.nth(2).unwrap().unwrap();
    assert!(status.contains("running"), "{status}");
}
