//! A host in a box: a machine whose emulated processor virtualises, so that hypervisors run in it that need KVM. Its
//! daemon reaches the cluster over QEMU's user network, keeps its data on the machine's disk, and is killed and started
//! by the machine's init, which is asked from outside.
//!
//! Ending the machine is the host's loss of power: its disk keeps what was flushed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use chv_domain::{HypervisorKind, VmId};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::disks::{linked_with, make_file_system};
use super::{Hardware, Machine, QEMU};
use crate::directory::RigDirectory;
use crate::ports;
use crate::program::Program;

/// A processor of AMD's, whose virtualisation QEMU emulates.
static HOST: Hardware = Hardware {
    cpu: "EPYC,+svm",
    cpus: 1,
    memory_mib: 2048,
    disk_mib: 256,
    initramfs: "box.cpio",
};

/// The hypervisors that run in a box: what each is called in the PATH, and the variable that names it otherwise.
const HYPERVISORS: [(&str, &str); 2] = [
    ("cloud-hypervisor", "CHV_CLOUD_HYPERVISOR"),
    ("firecracker", "CHV_FIRECRACKER"),
];

/// How long the machine's init may take to answer.
const ANSWER: Duration = Duration::from_secs(20);

/// One host in a box.
#[derive(Debug)]
pub struct HostBox {
    machine: Machine,
    port: u16,
}

/// A hypervisor's process in a box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoxedGuest {
    /// The VM that it runs.
    pub vm: VmId,
    /// What it is.
    pub kind: HypervisorKind,
    /// Its process, by the box's own count.
    pub pid: u32,
}

impl HostBox {
    /// The box of the host `name`, whose init is asked over `port` on loopback.
    pub(crate) fn new(directory: &Path, name: &str, port: u16) -> Self {
        let machine = Machine {
            directory: directory.to_owned(),
            name: format!("box-{name}"),
            programs: directory.join("host.ext4"),
            hardware: &HOST,
        };
        Self { machine, port }
    }

    /// A box without a daemon, which runs `program` when it is [told to](Self::run), and its QEMU.
    ///
    /// # Errors
    /// When its disks can't be made.
    pub fn without_daemon(rig: &RigDirectory, program: &Path) -> Result<(Self, Program)> {
        let port = *ports::free(1)?.first().context("a port")?;
        let boxed = Self::new(rig.path(), "alone", port);
        let images = rig.path().join("images");
        crate::layout::images(&images)?;
        boxed.make_disks(&images, ("program", program))?;
        let qemu = rig.program("box", QEMU.into()).args(boxed.args(&[], &[])?);
        Ok((boxed, qemu))
    }

    /// What its QEMU is told for `program`, the first word, to be kept running with this environment.
    pub(crate) fn args(&self, program: &[String], environment: &[(String, String)]) -> Result<Vec<OsString>> {
        let keeper = ("CHV_MACHINE_KEEPER".to_owned(), self.port.to_string());
        let hypervisors = at_hand()
            .into_keys()
            .map(|(name, variable)| (variable.to_owned(), format!("/programs/{name}")));
        let guest = ("CHV_TEST_GUEST".to_owned(), "/programs/images/uos".to_owned());
        let own = hypervisors.chain([keeper, guest]);
        let environment: Vec<_> = environment.iter().cloned().chain(own).collect();
        self.machine.args(program, &environment, self.port)
    }

    /// Makes its disks: an empty one for data, and one with a program, the hypervisors at hand and the images, which all
    /// boxes of a directory share.
    pub(crate) fn make_disks(&self, images: &Path, own: (&'static str, &Path)) -> Result<()> {
        let nothing = self.machine.file("empty");
        fs::create_dir(&nothing)?;
        self.machine.make_disk(&nothing)?;
        if self.machine.programs.exists() {
            return Ok(());
        }
        let content = self.machine.directory.join("host");
        let libraries = content.join("lib64");
        fs::create_dir_all(&libraries)?;
        let own = (own.0, own.1.to_owned());
        let programs = at_hand().into_iter().map(|((name, _), program)| (name, program));
        for (name, program) in programs.chain([own]) {
            copy(&program, &content.join(name))?;
            for library in linked_with(&program)? {
                let name = library.file_name().context("a library has a name")?;
                copy(&library, &libraries.join(name))?;
            }
        }
        copy_all(images, &content.join("images"))?;
        let image = &self.machine.programs;
        fs::File::create(image)?.set_len((size(&content)? * 5 / 4) + (16 << 20))?;
        make_file_system(image, &content, "^metadata_csum,^has_journal")?;
        Ok(fs::remove_dir_all(content)?)
    }

    /// To be called after its QEMU was killed: the disk is what that left.
    pub(crate) fn after_cut(&self) -> Result<()> {
        self.machine.after_cut()
    }

    /// Kills its daemon with -9. Its guests run on.
    ///
    /// # Errors
    /// When the daemon does not run, or the machine does not.
    pub async fn kill_daemon(&self) -> Result<()> {
        self.ask("kill").await.map(drop)
    }

    /// Starts its daemon again.
    ///
    /// # Errors
    /// When it runs, or the machine does not.
    pub async fn start_daemon(&self) -> Result<()> {
        self.ask("start").await.map(drop)
    }

    /// Kills a guest behind its daemon's back.
    ///
    /// # Errors
    /// When it is gone already.
    pub async fn kill_guest(&self, guest: &BoxedGuest) -> Result<()> {
        self.ask(&format!("kill-guest {}", guest.pid)).await.map(drop)
    }

    /// The hypervisors that run in it, as its /proc shows them.
    ///
    /// # Errors
    /// When the machine does not run.
    pub async fn guests(&self) -> Result<Vec<BoxedGuest>> {
        self.ask("guests").await?.split_whitespace().map(guest).collect()
    }

    /// Runs its program to the end, which may take until `patience` is over; how that was.
    ///
    /// # Errors
    /// When it takes longer, or the machine does not run.
    pub async fn run(&self, args: &[&str], patience: Duration) -> Result<String> {
        self.ask_within(&format!("run /programs/program {}", args.join(" ")), patience)
            .await
    }

    async fn ask(&self, question: &str) -> Result<String> {
        self.ask_within(question, ANSWER).await
    }

    /// Asks the machine's init.
    async fn ask_within(&self, question: &str, patience: Duration) -> Result<String> {
        let asked = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
            stream.write_all(format!("{question}\n").as_bytes()).await?;
            let mut answer = String::new();
            BufReader::new(stream).read_line(&mut answer).await?;
            anyhow::Ok(answer)
        };
        let answer = tokio::time::timeout(patience, asked).await;
        let answer = answer.with_context(|| format!("the box does not answer to {question:?}"))??;
        match answer.trim_end_matches('\n').split_once(' ') {
            Some(("ok", answer)) => Ok(answer.to_owned()),
            _ => bail!("the box answers to {question:?} with {answer:?}"),
        }
    }
}

/// `<pid>:chv-<VM id>-<kind>`.
fn guest(words: &str) -> Result<BoxedGuest> {
    let read = || {
        let (pid, mark) = words.split_once(':')?;
        let (vm, kind) = mark.strip_prefix("chv-")?.split_once('-')?;
        Some(BoxedGuest {
            vm: vm.parse().ok()?,
            kind: kind.parse().ok()?,
            pid: pid.parse().ok()?,
        })
    };
    read().with_context(|| format!("{words:?} is no guest"))
}

/// The hypervisors of this machine that a box can run, and where they are.
fn at_hand() -> BTreeMap<(&'static str, &'static str), PathBuf> {
    let found =
        |(name, variable): (&str, &str)| match std::env::var_os(variable).filter(|path| !path.is_empty()) {
            Some(path) => Some(PathBuf::from(path)),
            None => std::env::split_paths(&std::env::var_os("PATH")?)
                .map(|dir| dir.join(name))
                .find(|file| file.is_file()),
        };
    HYPERVISORS
        .into_iter()
        .filter_map(|hypervisor| Some((hypervisor, found(hypervisor)?)))
        .collect()
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .with_context(|| format!("can't copy {}", from.display()))
        .map(drop)
}

fn copy_all(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let copy = if entry.file_type()?.is_dir() {
            copy_all
        } else {
            copy
        };
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

fn size(directory: &Path) -> Result<u64> {
    fs::read_dir(directory)?.try_fold(0, |sum, entry| {
        let entry = entry?;
        let metadata = entry.metadata()?;
        Ok(sum
            + if metadata.is_dir() {
                size(&entry.path())?
            } else {
                metadata.len()
            })
    })
}
