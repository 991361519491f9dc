//! A machine as a hypervisor is asked to run it: a VM's spec, and where on this host its files are.

use std::borrow::Cow;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chv_domain::spec::{CloudInit, Disk, DiskFormat, MAX_CMDLINE, MacAddress, Nic, Port};
use chv_domain::{HypervisorKind, VmId, VmSpec};

use super::error::{HypervisorError, Part};
use super::making::Making;
use super::run_dir::RunDir;
use crate::wall::Wall;

/// What puts the kernel's console on the first serial port. Before the spec's own, which may add to it.
const CONSOLE: &str = "console=ttyS0";

/// The same where there is no serial port.
const VIRTIO_CONSOLE: &str = "console=hvc0";

/// The same for Firecracker, which hears of a reset from the keyboard's controller alone.
const FIRECRACKER: &str = "console=ttyS0 reboot=k";

/// A machine to run.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The VM that it is.
    pub vm: VmId,
    /// Where its sockets and logs go; its alone.
    pub run_dir: RunDir,
    /// What it is.
    pub spec: Arc<VmSpec>,
    /// Where its files are.
    pub files: MachineFiles,
    /// What its process is put behind.
    pub wall: Wall,
    /// Held while something is made for it.
    pub making: Making,
}

/// A spec's files, each an absolute path on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineFiles {
    /// What it boots.
    pub payload: Payload,
    /// The image files of its disks, in the spec's order.
    pub disks: Vec<PathBuf>,
    /// The disk that cloud-init reads, which comes after them.
    pub seed: Option<PathBuf>,
    /// What else of the host it reaches.
    pub attached: Attached,
}

/// What else of the host a machine reaches, each an absolute path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attached {
    /// The file that its serial port leads to.
    pub serial: Option<PathBuf>,
    /// The file that its virtio console leads to.
    pub console: Option<PathBuf>,
    /// For each network card the socket of the switch that it is plugged into, in the spec's order.
    pub switches: Vec<Option<PathBuf>>,
    /// The sockets of its shares, in the spec's order.
    pub shares: Vec<PathBuf>,
    /// The files of its persistent memory, in the spec's order.
    pub pmem: Vec<PathBuf>,
    /// The socket of its TPM.
    pub tpm: Option<PathBuf>,
}

impl Attached {
    /// The sockets of other processes.
    fn sockets(&self) -> impl Iterator<Item = &Path> {
        let switches = self.switches.iter().flatten();
        let all = switches.chain(&self.shares).chain(&self.tpm);
        all.map(PathBuf::as_path)
    }
}

/// What a machine boots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// A kernel, directly.
    Kernel {
        /// Its image.
        kernel: PathBuf,
        /// The initial RAM file system.
        initramfs: Option<PathBuf>,
    },
    /// Firmware, which boots from a disk.
    Firmware(PathBuf),
}

impl Machine {
    /// Its disks, each with its image file.
    pub(super) fn disks(&self) -> impl Iterator<Item = (Cow<'_, Disk>, &Path)> {
        let files = self.files.disks.iter().map(PathBuf::as_path);
        let disks = self.spec.disks.iter().map(Cow::Borrowed).zip(files);
        let seed = self.files.seed.as_deref().map(|path| (Cow::Owned(seed()), path));
        disks.chain(seed)
    }

    /// At which place its firmware boots from `disk`, if it does.
    pub(super) fn boot_place(&self, disk: &Disk) -> Option<usize> {
        let Payload::Firmware(_) = self.files.payload else {
            return None;
        };
        let (boot, disks) = (&self.spec.boot, &self.spec.disks);
        match boot.order.is_empty() {
            true => disks.iter().position(|other| other.id == disk.id),
            false => boot.order.iter().position(|id| *id == disk.id),
        }
    }

    /// The hardware address of one of its network cards.
    pub(super) fn mac(&self, nic: &Nic) -> MacAddress {
        mac_of(self.vm, nic)
    }

    /// The whole kernel command line.
    pub(super) fn kernel_cmdline(&self, kind: HypervisorKind) -> Result<String, HypervisorError> {
        let first = match (kind, &self.spec.serial, &self.spec.console.0) {
            (HypervisorKind::Firecracker, ..) => FIRECRACKER,
            (_, Port::Off, Port::Off) => "",
            (_, Port::Off, _) => VIRTIO_CONSOLE,
            _ => CONSOLE,
        };
        let whole = format!("{first} {}", self.spec.boot.cmdline.as_str().trim());
        let whole = whole.trim().to_owned();
        if whole.len() > MAX_CMDLINE {
            return Err(HypervisorError::Unsupported {
                kind,
                feature: format!(
                    "a kernel command line of {} bytes with {first:?} before it; at most {MAX_CMDLINE} fit",
                    whole.len()
                ),
            });
        }
        Ok(whole)
    }

    /// The files that the machine is made of, and whether its hypervisor writes to them.
    pub(super) fn files(&self) -> impl Iterator<Item = (Part, &Path, bool)> {
        let (first, initramfs) = match &self.files.payload {
            Payload::Kernel { kernel, initramfs } => ((Part::Kernel, kernel), initramfs.as_deref()),
            Payload::Firmware(firmware) => ((Part::Firmware, firmware), None),
        };
        let initramfs = initramfs.map(|path| (Part::Initramfs, path, false));
        let disks = self.disks().map(|(disk, path)| match disk.format {
            DiskFormat::VhostUser => (Part::Socket, path, true),
            DiskFormat::Raw | DiskFormat::Qcow2 => (Part::Disk, path, !disk.read_only),
        });
        let attached = &self.files.attached;
        let ports = [&attached.serial, &attached.console].into_iter().flatten();
        let ports = ports.map(|path| (Part::Port, path.as_path(), true));
        let pmem = self.spec.pmem.iter().zip(&attached.pmem);
        let pmem = pmem.map(|(pmem, path)| (Part::Pmem, path.as_path(), !pmem.discard_writes));
        let sockets = attached.sockets().map(|path| (Part::Socket, path, true));
        [(first.0, first.1.as_path(), false)]
            .into_iter()
            .chain(initramfs)
            .chain(disks)
            .chain(ports)
            .chain(pmem)
            .chain(sockets)
    }

    /// Opens every file that the machine is made of, as the hypervisor will. Blocks on the file system.
    pub(super) fn check_files(&self) -> Result<(), HypervisorError> {
        self.files().try_for_each(|(part, path, write)| {
            let usable = match part {
                Part::Socket => is_socket(path),
                _ => open_file(path, write),
            };
            usable.map_err(|source| HypervisorError::Unreadable {
                part,
                path: path.to_owned(),
                source,
            })
        })
    }
}

/// The hardware address of a network card of `vm`.
pub(super) fn mac_of(vm: VmId, nic: &Nic) -> MacAddress {
    nic.mac.unwrap_or_else(|| MacAddress::of(vm, &nic.id))
}

/// Opens and closes a disk's image file, as its hypervisor will. Blocks on the file system.
pub(crate) fn openable(path: &Path, write: bool) -> Result<(), HypervisorError> {
    open_file(path, write).map_err(|source| HypervisorError::Unreadable {
        part: Part::Disk,
        path: path.to_owned(),
        source,
    })
}

/// The disk that cloud-init reads, as a disk of a spec.
fn seed() -> Disk {
    let path = "cidata.img".to_owned().try_into();
    let path = path.expect("a name without a directory");
    Disk {
        read_only: true,
        ..Disk::new(CloudInit::disk(), path, DiskFormat::Raw)
    }
}

/// Whether somebody made a socket there. Nobody connects to it but the hypervisor, who may be the only one.
fn is_socket(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path)?.file_type().is_socket() {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a socket")),
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
