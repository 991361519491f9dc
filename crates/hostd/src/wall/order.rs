//! What a launcher is told: which program to start for which VM, and what wall to put it behind.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::hypervisor::Process;

/// What a launcher is asked for. Written as JSON to its standard input, a socket; daemon and launcher are the same program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Task {
    /// To start a program.
    Launch(Box<Order>),
    /// To let a program that runs behind its wall find one more file, or not any more.
    Show(Showing),
}

/// A file that comes behind a wall or goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Showing {
    /// The program behind the wall.
    pub(crate) process: Process,
    /// Its user.
    pub(crate) user: u32,
    /// The file.
    pub(crate) file: Shown,
    /// Whether it is found from now on.
    pub(crate) there: bool,
}

/// A program to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    /// The program: absolute, links followed.
    pub(crate) program: PathBuf,
    /// What it is called in the process list.
    pub(crate) arg0: String,
    /// Its arguments.
    pub(crate) args: Vec<OsString>,
    /// Where it is started: the only directory that it may write to.
    pub(crate) own: PathBuf,
    /// The run directory's lock file, which it holds as long as it lives.
    pub(crate) lock: RawFd,
    /// What else it gets open.
    pub(crate) open: Vec<RawFd>,
    /// Its standard input and output, where they are its machine's serial port.
    pub(crate) serial: Option<(RawFd, RawFd)>,
    /// Where it is noted how it ended.
    pub(crate) end: PathBuf,
    /// The cgroup that it runs in.
    pub(crate) cgroup: Option<PathBuf>,
    /// The cgroup of those who wait for programs' ends.
    pub(crate) keepers: Option<PathBuf>,
    /// What keeps it from the host.
    pub(crate) cell: Option<Cell>,
}

impl Order {
    /// The descriptors that the launcher needs, by their numbers in the daemon.
    pub(super) fn descriptors(&self) -> Vec<RawFd> {
        let serial = self.serial.into_iter().flat_map(<[RawFd; 2]>::from);
        self.open
            .iter()
            .copied()
            .chain([self.lock])
            .chain(serial)
            .collect()
    }
}

/// A user, a root directory and namespaces of a program's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cell {
    /// Its user and its group.
    pub(crate) user: u32,
    /// The files and directories of the host that it finds, at their own paths.
    pub(crate) shown: Vec<Shown>,
    /// The devices that it finds in its /dev.
    pub(crate) devices: Vec<PathBuf>,
    /// What it has of the network.
    pub(crate) network: Network,
}

/// What a program has of the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Network {
    /// A namespace of its own, with nothing in it.
    Own,
    /// The host's; these TAP devices are made its user's.
    Host(Vec<String>),
}

/// A file or directory that a program finds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shown {
    /// Its path on the host.
    pub(crate) path: PathBuf,
    /// Whether it may be written to.
    pub(crate) write: bool,
    /// Whether programs in it may be executed.
    pub(crate) execute: bool,
}

impl Shown {
    /// To be read only.
    pub(crate) fn data(path: impl Into<PathBuf>, write: bool) -> Self {
        Self {
            path: path.into(),
            write,
            execute: false,
        }
    }

    /// A program, or a directory of programs or libraries.
    pub(crate) fn program(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            write: false,
            execute: true,
        }
    }
}
