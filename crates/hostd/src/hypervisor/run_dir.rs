//! The directory that one running machine has on its host, and what is in it. The hypervisor may write to the directory
//! [`RunDir::own`] in it, and to nothing else: the rest is the daemon's. Nothing here creates or removes a
//! file.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The longest path that a Unix socket can be bound to, without the final zero.
const MAX_SOCKET_PATH: usize = 107;

/// The longest name that is put into a run directory.
const LONGEST_NAME: &str = "own/console.sock";

/// The port on the host that a guest connects to over vsock to reach its agent channel.
const AGENT_VSOCK_PORT: u32 = 1024;

/// A directory for one machine's sockets and logs: absolute, and short enough for the sockets in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "PathBuf", into = "PathBuf")]
pub struct RunDir(PathBuf);

/// A path that can't be a run directory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunDirError {
    /// Not absolute.
    #[error("the run directory {0} is not an absolute path")]
    Relative(PathBuf),
    /// Too long for the sockets in it.
    #[error(
        "the run directory {0} is too long for the Unix sockets in it: at most {max} bytes; \
         choose a shorter data directory",
        max = RunDir::MAX_LENGTH
    )]
    TooLong(PathBuf),
}

impl RunDir {
    /// The longest path that a run directory may have, in bytes.
    pub const MAX_LENGTH: usize = MAX_SOCKET_PATH - LONGEST_NAME.len() - 1;

    /// Takes `path` as a run directory; it need not exist.
    pub fn new(path: impl Into<PathBuf>) -> Result<Self, RunDirError> {
        let path = path.into();
        match () {
            () if !path.is_absolute() => Err(RunDirError::Relative(path)),
            () if path.as_os_str().len() > Self::MAX_LENGTH => Err(RunDirError::TooLong(path)),
            () => Ok(Self(path)),
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The hypervisor's own directory, where it is started. It may put there what it likes, links too: nothing in it is
    /// opened by following one.
    pub(crate) fn own(&self) -> PathBuf {
        self.0.join(OWN)
    }

    /// The user that the hypervisor's own directory belongs to; `None` when that is not one of its own. Blocks on the
    /// file system.
    pub(crate) fn user(&self) -> Option<u32> {
        let owner = std::fs::symlink_metadata(self.own()).ok()?.uid();
        (owner != rustix::process::geteuid().as_raw()).then_some(owner)
    }

    /// How the hypervisor's process ended, once it has.
    pub(super) fn end(&self) -> PathBuf {
        self.0.join("end")
    }

    /// Held by the hypervisor's process as long as it lives.
    pub(super) fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// The hypervisor's control socket: QMP or REST.
    pub(super) fn api_socket(&self) -> PathBuf {
        self.0.join(API_SOCKET)
    }

    /// The control socket that Firecracker makes by itself.
    pub(super) fn own_api_socket(&self) -> PathBuf {
        self.own().join(API_SOCKET)
    }

    /// The serial console's socket. One client at a time.
    pub(crate) fn console_socket(&self) -> PathBuf {
        self.own().join(CONSOLE_SOCKET)
    }

    /// Where Firecracker reads what is typed on the serial console: a FIFO.
    pub(super) fn console_input(&self) -> PathBuf {
        self.0.join("console.in")
    }

    /// What the guest wrote on its serial console.
    pub fn console_log(&self) -> PathBuf {
        self.own().join(CONSOLE_LOG)
    }

    /// What the hypervisor itself wrote, since its launch.
    pub fn hypervisor_log(&self) -> PathBuf {
        self.0.join(HYPERVISOR_LOG)
    }

    /// The disk that cloud-init reads.
    pub(crate) fn seed(&self) -> PathBuf {
        self.0.join("cidata.img")
    }

    /// What the hypervisor wrote in the run before the last.
    pub(super) fn hypervisor_log_before(&self) -> PathBuf {
        self.0.join("hypervisor.log.1")
    }

    /// QEMU's end of the agent channel.
    pub(super) fn agent_socket(&self) -> PathBuf {
        self.own().join(AGENT_SOCKET)
    }

    /// Where cloud-hypervisor connects to when the guest connects to the host's agent port.
    pub(super) fn agent_listener(&self) -> PathBuf {
        self.own().join(format!("{VSOCK}_{AGENT_VSOCK_PORT}"))
    }

    /// Where that socket is made, before it is moved there.
    pub(super) fn agent_listener_made(&self) -> PathBuf {
        self.0.join("agent.new")
    }

    /// The sockets that a hypervisor makes for itself, and fails to make when an earlier one left them; and how that one
    /// ended.
    pub(super) fn left_behind(&self) -> [PathBuf; 8] {
        [
            self.end(),
            self.api_socket(),
            self.own_api_socket(),
            self.console_socket(),
            self.agent_socket(),
            self.own().join(VSOCK),
            self.own().join(SERIAL_SOCKET),
            self.own().join(VIRTIO_SOCKET),
        ]
    }
}

const OWN: &str = "own";
pub(super) const API_SOCKET: &str = "api.sock";

// Relative to its own directory, which is the hypervisor's working directory: no path needs quoting.
pub(super) const CONSOLE_SOCKET: &str = "console.sock";
/// Where a serial port that is not the daemon's leads.
pub(super) const SERIAL_SOCKET: &str = "serial.sock";
/// Where a virtio console leads.
pub(super) const VIRTIO_SOCKET: &str = "hvc.sock";
pub(super) const CONSOLE_LOG: &str = "console.log";
pub(super) const HYPERVISOR_LOG: &str = "hypervisor.log";
pub(super) const AGENT_SOCKET: &str = "agent.sock";
pub(super) const VSOCK: &str = "vsock";

impl TryFrom<PathBuf> for RunDir {
    type Error = RunDirError;

    fn try_from(path: PathBuf) -> Result<Self, RunDirError> {
        Self::new(path)
    }
}

impl From<RunDir> for PathBuf {
    fn from(dir: RunDir) -> PathBuf {
        dir.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_the_longest_run_directory_then_every_socket_in_it_can_be_bound() {
        let dir = RunDir::new(format!("/{}", "d".repeat(RunDir::MAX_LENGTH - 1))).unwrap();
        for socket in dir.left_behind().into_iter().chain([dir.agent_listener()]) {
            assert!(
                socket.as_os_str().len() <= MAX_SOCKET_PATH,
                "{}",
                socket.display()
            );
        }
    }

    #[test]
    fn given_a_path_that_is_too_long_or_relative_then_it_is_refused() {
        let long = format!("/{}", "d".repeat(RunDir::MAX_LENGTH));
        assert!(matches!(RunDir::new(long), Err(RunDirError::TooLong(_))));
        assert!(matches!(RunDir::new("vms/x"), Err(RunDirError::Relative(_))));
    }
}
