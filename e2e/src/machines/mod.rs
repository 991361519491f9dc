//! Machines in which replicas and hosts run: QEMU without hardware's help, Debian's kernel, and a disk that loses what
//! was not flushed when the machine's power is cut, which is what killing its QEMU is.
//!
//! A cut loses two things. What the guest's kernel had not written to its disk is in the memory of the killed QEMU. And
//! what it had written and not flushed: the disk is a layer (qcow2) over what the last cut left, in clusters of the file
//! system's block size. QEMU writes where a new block lies only when the guest flushes, and keeps it in its own memory
//! until then; killed, it leaves the layer without that block. A block that was flushed once since the machine was
//! switched on and is written again is there early, as on a disk that writes back when it likes.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::ports;
use crate::program::Program;
use crate::programs::guest_dir;

pub use host::{BoxedGuest, HostBox};
pub(crate) use replica_disk::make_programs;

mod disks;
mod host;
mod replica_disk;

use disks::{make_file_system, run};
use replica_disk::programs;

/// Debian's emulator.
pub(crate) const QEMU: &str = "/usr/bin/qemu-system-x86_64";

/// The machine that runs the machines, as a guest sees it.
pub(crate) const OUTSIDE: &str = "10.0.2.2";

/// What a machine is made of.
#[derive(Debug)]
struct Hardware {
    cpu: &'static str,
    cpus: u32,
    memory_mib: u64,
    disk_mib: u64,
    /// In the guest's directory.
    initramfs: &'static str,
}

/// A replica's machine.
static REPLICA: Hardware = Hardware {
    cpu: "max",
    cpus: 1,
    memory_mib: 384,
    disk_mib: 160,
    initramfs: "machine.cpio",
};

/// A machine. Its files are in the cluster's directory.
#[derive(Debug, Clone)]
pub struct Machine {
    directory: PathBuf,
    name: String,
    programs: PathBuf,
    hardware: &'static Hardware,
}

impl Machine {
    /// The machine of the replica of one number, from 1.
    pub(crate) fn new(directory: &Path, number: usize) -> Self {
        Self {
            directory: directory.to_owned(),
            name: format!("machine-{number}"),
            programs: programs(directory),
            hardware: &REPLICA,
        }
    }

    /// A machine that is no replica's: its files are in `directory`, and its disk holds what is in `content`. Runs only
    /// what its init can do itself.
    ///
    /// # Errors
    /// When its disks can't be made.
    pub fn alone(directory: &Path, content: &Path) -> Result<Self> {
        let machine = Self::new(directory, 1);
        let nothing = directory.join("nothing");
        fs::create_dir(&nothing)?;
        fs::File::create(&machine.programs)?.set_len(1 << 20)?;
        make_file_system(&machine.programs, &nothing, "^metadata_csum,^has_journal")?;
        machine.make_disk(content)?;
        Ok(machine)
    }

    /// Its QEMU, to run `what`.
    ///
    /// # Errors
    /// When the guest's kernel is not there, or no port is free.
    pub fn runs(&self, what: &str) -> Result<Program> {
        let port = *ports::free(1)?.first().context("a port")?;
        let args = self.args(&[what.to_owned()], &[], port)?;
        Ok(Program::new(what, QEMU.into(), &self.directory).args(args))
    }

    fn file(&self, kind: &str) -> PathBuf {
        self.directory.join(format!("{}.{kind}", self.name))
    }

    /// What QEMU is told: `program` and its arguments run in the machine, with this environment, and its `port` is
    /// reached on this machine's loopback.
    pub(crate) fn args(
        &self,
        program: &[String],
        environment: &[(String, String)],
        port: u16,
    ) -> Result<Vec<OsString>> {
        let guest = guest_dir()?;
        let net = format!("chv.net=static,addr=10.0.2.15/24,gw={OUTSIDE}");
        let environment = environment.iter().map(|(name, value)| format!("{name}={value}"));
        let words: Vec<String> = ["console=ttyS0", "quiet", "panic=-1", &net]
            .into_iter()
            .map(str::to_owned)
            .chain(environment)
            .chain(["--".to_owned()])
            .chain(program.iter().cloned())
            .collect();
        let hardware = self.hardware;
        let (cpus, memory) = (hardware.cpus.to_string(), hardware.memory_mib.to_string());
        let net = format!("user,id=net,hostfwd=tcp:127.0.0.1:{port}-10.0.2.15:{port}");
        let mut args: Vec<OsString> = [
            "-accel",
            "tcg",
            "-cpu",
            hardware.cpu,
            "-smp",
            &cpus,
            "-m",
            &memory,
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
            "-serial",
            "stdio",
            "-netdev",
            &net,
            "-device",
            "virtio-net-pci,netdev=net,romfile=",
            "-device",
            "virtio-rng-pci",
        ]
        .map(OsString::from)
        .into();
        let option = |before: &str, path: &Path, after: &str| {
            let mut option = OsString::from(before);
            option.push(path);
            option.push(after);
            option
        };
        args.extend(["-kernel".into(), guest.join("vmlinuz").into_os_string()]);
        args.extend(["-initrd".into(), guest.join(hardware.initramfs).into_os_string()]);
        args.extend(["-append".into(), words.join(" ").into()]);
        args.extend([
            "-drive".into(),
            option("file=", &self.programs, ",format=raw,if=virtio,readonly=on"),
        ]);
        let disk = option(
            "id=data,file=",
            &self.file("qcow2"),
            ",format=qcow2,if=virtio,cache=writeback",
        );
        args.extend(["-drive".into(), disk]);
        Ok(args)
    }

    /// Makes its disk, with what is in `content` on it.
    pub(crate) fn make_disk(&self, content: &Path) -> Result<()> {
        let image = self.file("0");
        fs::File::create(&image)?.set_len(self.hardware.disk_mib << 20)?;
        // The kernel of the machine has no checksums for file systems; the log's own are what is tested.
        make_file_system(&image, content, "^metadata_csum,has_journal")?;
        self.layer(&image, "raw")
    }

    /// To be called after its QEMU was killed: what that left stays as it is, and the next start writes to a layer above.
    ///
    /// # Errors
    /// When there is none, or no other one can be made.
    pub fn after_cut(&self) -> Result<()> {
        let top = self.file("qcow2");
        let cuts = (1..).find(|cut| !self.file(&cut.to_string()).exists());
        let left = self.file(&cuts.unwrap_or(1).to_string());
        fs::rename(&top, &left).with_context(|| format!("can't keep {}", top.display()))?;
        self.layer(&left, "qcow2")
    }

    fn layer(&self, below: &Path, format: &str) -> Result<()> {
        let mut create = Command::new("qemu-img");
        create.args([
            "create",
            "-q",
            "-f",
            "qcow2",
            "-F",
            format,
            "-o",
            "cluster_size=4096",
            "-b",
        ]);
        run(create.arg(below).arg(self.file("qcow2")))
    }
}
