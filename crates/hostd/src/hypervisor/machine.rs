//! A machine as a hypervisor is asked to run it: every path is on this host, every choice is made.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

use chv_domain::spec::{Cmdline, DiskFormat, MAX_CMDLINE, MacAddress, NicBackend};
use chv_domain::{HypervisorKind, Memory, Vcpus, VmId};

use super::error::{HypervisorError, Part};
use super::run_dir::RunDir;

/// What puts the kernel's console on the first serial port. Before the spec's own, which may add to it.
const CONSOLE: &str = "console=ttyS0";

/// A machine to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// The VM that it is.
    pub vm: VmId,
    /// Where its sockets and logs go; its alone.
    pub run_dir: RunDir,
    /// Virtual CPUs.
    pub vcpus: Vcpus,
    /// Memory.
    pub memory: Memory,
    /// The kernel image.
    pub kernel: PathBuf,
    /// The initial RAM file system.
    pub initramfs: Option<PathBuf>,
    /// The spec's kernel command line; the driver puts the console before it.
    pub cmdline: Cmdline,
    /// Its disk.
    pub disk: Option<MachineDisk>,
    /// Its network card.
    pub nic: Option<MachineNic>,
}

/// A disk backed by a file on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineDisk {
    /// The image file.
    pub path: PathBuf,
    /// How the image is written; never guessed.
    pub format: DiskFormat,
    /// Whether the guest may only read.
    pub read_only: bool,
}

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineNic {
    /// Its hardware address.
    pub mac: MacAddress,
    /// What it is plugged into.
    pub backend: NicBackend,
}

impl Machine {
    /// The whole kernel command line.
    pub(super) fn kernel_cmdline(&self, kind: HypervisorKind) -> Result<String, HypervisorError> {
        let whole = match self.cmdline.as_str().trim() {
            "" => CONSOLE.to_owned(),
            rest => format!("{CONSOLE} {rest}"),
        };
        if whole.len() > MAX_CMDLINE {
            return Err(HypervisorError::Unsupported {
                kind,
                feature: format!(
                    "a kernel command line of {} bytes with {CONSOLE:?} before it; at most {MAX_CMDLINE} fit",
                    whole.len()
                ),
            });
        }
        Ok(whole)
    }

    /// Opens every file that the machine is made of, as the hypervisor will. Blocks on the file system.
    pub(super) fn check_files(&self) -> Result<(), HypervisorError> {
        let initramfs = self
            .initramfs
            .as_deref()
            .map(|path| (Part::Initramfs, path, false));
        let disk = self
            .disk
            .as_ref()
            .map(|disk| (Part::Disk, disk.path.as_path(), !disk.read_only));
        [
            Some((Part::Kernel, self.kernel.as_path(), false)),
            initramfs,
            disk,
        ]
        .into_iter()
        .flatten()
        .try_for_each(|(part, path, write)| {
            open_file(path, write).map_err(|source| HypervisorError::Unreadable {
                part,
                path: path.to_owned(),
                source,
            })
        })
    }
}

/// Opens and closes a regular file. The kind is looked at first: opening a FIFO would wait for its other end.
fn open_file(path: &Path, write: bool) -> io::Result<()> {
    if !path.is_absolute() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not an absolute path",
        ));
    }
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    OpenOptions::new().read(true).write(write).open(path).map(drop)
}
