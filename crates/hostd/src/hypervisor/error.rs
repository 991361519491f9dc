//! What can go wrong with a hypervisor, and what that asks of whoever wanted something from it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use chv_domain::{HypervisorKind, VmId};

use super::process::Exit;

/// What was wanted from a hypervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Creating and booting a machine.
    Launch,
    /// Pressing its power button.
    PowerButton,
    /// Removing what is left of a machine.
    Remove,
    /// Letting a held guest go on.
    Resume,
    /// Holding it.
    Pause,
    /// Pressing its reset button.
    Reset,
    /// Making something else of it while it runs.
    Change,
    /// Ending its process.
    Kill,
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Launch => "launch",
            Self::PowerButton => "power button",
            Self::Remove => "removal",
            Self::Resume => "resume",
            Self::Pause => "pause",
            Self::Reset => "reset",
            Self::Change => "change",
            Self::Kill => "kill",
        })
    }
}

/// A file that a machine is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The kernel image.
    Kernel,
    /// The initial RAM file system.
    Initramfs,
    /// The firmware's image.
    Firmware,
    /// The socket of another process.
    Socket,
    /// The file that a port of the guest leads to.
    Port,
    /// The file of persistent memory.
    Pmem,
    /// The disk's image.
    Disk,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel",
            Self::Initramfs => "initramfs",
            Self::Firmware => "firmware",
            Self::Socket => "socket",
            Self::Port => "file of a port",
            Self::Pmem => "persistent memory",
            Self::Disk => "disk",
        })
    }
}

/// What an error asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Something on the host has to change first; trying again costs nothing and may succeed then.
    WaitForHost,
    /// It may pass; try again.
    Retry,
    /// It can't succeed with this specification and this hypervisor.
    ChangeSpec,
}

/// A fault of a hypervisor, or of the host around it. No fault leaves a process behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HypervisorError {
    /// The host can't read (or, for a writable disk, write) a file that the machine is made of.
    #[error("the {part} {path} can't be opened on this host: {source}; put it there or correct the path")]
    Unreadable {
        /// Which of the machine's files.
        part: Part,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The hypervisor's program is not on this host.
    #[error("{kind} is not installed: {looked_for}")]
    NotInstalled {
        /// Which hypervisor.
        kind: HypervisorKind,
        /// Where it was looked for, and what to do.
        looked_for: String,
    },
    /// A process for this VM holds the run directory already.
    #[error("{vm} already runs as process {pid} in {run_dir}; adopt or kill it first")]
    AlreadyRunning {
        /// The VM.
        vm: VmId,
        /// The process.
        pid: u32,
        /// The run directory.
        run_dir: PathBuf,
    },
    /// The run directory, or something in it, can't be made or used.
    #[error("{path} can't be used to run {vm}: {source}")]
    RunDir {
        /// The VM.
        vm: VmId,
        /// The directory or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The program is there and can't be started.
    #[error("{binary} can't be started: {source}")]
    Spawn {
        /// The program.
        binary: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The hypervisor refused, or did not speak as it should.
    #[error("{operation} of {vm}: {why}")]
    Api {
        /// What was asked.
        operation: Operation,
        /// Of which VM.
        vm: VmId,
        /// The hypervisor's answer.
        why: String,
    },
    /// The hypervisor did not answer in time.
    #[error("{operation} of {vm}: no answer within {after:?}")]
    Timeout {
        /// What was asked.
        operation: Operation,
        /// Of which VM.
        vm: VmId,
        /// How long was waited.
        after: Duration,
    },
    /// The hypervisor's process ended.
    #[error("{operation} of {vm}: its hypervisor {exit}; its last words: {last_words}")]
    Exited {
        /// What was asked.
        operation: Operation,
        /// Of which VM.
        vm: VmId,
        /// How it ended.
        exit: Exit,
        /// The end of its log.
        last_words: String,
    },
    /// The host lacks what the machine asks for.
    #[error("this host lacks {what}")]
    HostLacks {
        /// What, and what to do.
        what: String,
    },
    /// The machine asks for something that this hypervisor can't do.
    #[error("{kind} can't do this: {feature}")]
    Unsupported {
        /// Which hypervisor.
        kind: HypervisorKind,
        /// What it lacks.
        feature: String,
    },
}

impl HypervisorError {
    /// What the error asks for.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Unreadable { .. } | Self::NotInstalled { .. } | Self::HostLacks { .. } => {
                Remedy::WaitForHost
            }
            Self::Unsupported { .. } => Remedy::ChangeSpec,
            Self::AlreadyRunning { .. }
            | Self::RunDir { .. }
            | Self::Spawn { .. }
            | Self::Api { .. }
            | Self::Timeout { .. }
            | Self::Exited { .. } => Remedy::Retry,
        }
    }
}
