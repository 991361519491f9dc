//! `chv vm create`: a VM from options.

use std::io::Write;

use chv_domain::spec::{
    Boot, Cmdline, CpuSpec, HostPath, MemorySpec, OnHostLoss, Restart, RestartPolicy, StartPriority,
    StopTimeout,
};
use chv_domain::{Command, HypervisorKind, Memory, Vcpus, VmName, VmRef, VmSpec};

use super::device::{AskedDisk, AskedNic, disk, host_path, nic};
use super::resize::vcpus;
use crate::change::Change;
use crate::cli::Waiting;
use crate::failure::Failure;
use crate::session::Session;
use crate::wait::{Goal, Until};

/// Create a VM. The options are the fields that most VMs need; a manifest, made by `chv apply`, has all of them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chv vm create hello --kernel uos/vmlinuz --initramfs uos/initramfs.cpio --memory 128MiB
  chv vm create web --vcpus 2 --memory 1GiB --kernel k --disk path=web.qcow2,format=qcow2 --nic user
  chv vm create db --kernel k --nic tap=tap0 --label tier=data --no-start
  chv vm create pc --firmware OVMF.fd --disk path=debian.raw,format=raw")]
pub(crate) struct Create {
    /// Its name: a-z, 0-9 and -, unique in the project.
    name: VmName,
    /// Virtual CPUs.
    #[arg(long, value_name = "N", default_value = "1", value_parser = vcpus)]
    vcpus: Vcpus,
    /// Memory, such as 512MiB or 2GiB.
    #[arg(long, value_name = "AMOUNT", default_value = "512MiB")]
    memory: Memory,
    /// The kernel's file on the host: absolute, or below its image directory.
    #[arg(long, value_name = "PATH", value_parser = host_path, required_unless_present = "firmware")]
    kernel: Option<HostPath>,
    /// The firmware's file, such as OVMF's, by the same rules: it boots from a disk, instead of a kernel.
    #[arg(long, value_name = "PATH", value_parser = host_path, conflicts_with_all = ["kernel", "initramfs", "cmdline"])]
    firmware: Option<HostPath>,
    /// The initial RAM file system's, by the same rules.
    #[arg(long, value_name = "PATH", value_parser = host_path)]
    initramfs: Option<HostPath>,
    /// The kernel's command line.
    #[arg(long, value_name = "TEXT", value_parser = cmdline, allow_hyphen_values = true, default_value = "")]
    cmdline: Cmdline,
    /// A disk: path=FILE,format=raw|qcow2[,id=NAME][,readonly]; can be given many times.
    #[arg(long = "disk", value_name = "DISK", value_parser = disk)]
    disks: Vec<AskedDisk>,
    /// A network card: user or tap=DEVICE, then [,id=NAME][,mac=52:54:00:12:34:56]; can be given many times.
    #[arg(long = "nic", value_name = "NIC", value_parser = nic)]
    nics: Vec<AskedNic>,
    /// What must run it: cloud-hypervisor, qemu-kvm, firecracker or qemu-tcg. The host chooses when this is not given.
    #[arg(long, value_name = "KIND")]
    hypervisor: Option<HypervisorKind>,
    /// Seconds that a stop waits for the guest before it is done the hard way: 1 to 3600, 30 if not given.
    #[arg(long, value_name = "SECONDS", value_parser = stop_timeout)]
    stop_timeout: Option<StopTimeout>,
    /// What becomes of it when its host is lost: stay, or failover to another host.
    #[arg(long, value_name = "WHAT", default_value_t)]
    on_host_loss: OnHostLoss,
    /// After which ends it is started again: never, on-failure (not after a power-off of its own) or always.
    #[arg(long, value_name = "POLICY", default_value_t)]
    restart: RestartPolicy,
    /// Where its host has many to start: those with the higher number are started first, -1000 to 1000.
    #[arg(long, value_name = "N", value_parser = priority, allow_hyphen_values = true, default_value = "0")]
    start_priority: StartPriority,
    /// A label; can be given many times.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// An annotation, which may be longer; can be given many times.
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = label)]
    annotations: Vec<(String, String)>,
    /// It can't be deleted until `chv vm unprotect` lifts that.
    #[arg(long)]
    protect: bool,
    /// Leave it stopped.
    #[arg(long)]
    no_start: bool,
    #[command(flatten)]
    until: Until,
    #[command(flatten)]
    waiting: Waiting,
}

impl Create {
    pub(super) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let (project, name) = (session.project().clone(), self.name.clone());
        let (goal, start, waiting) = (Goal::from(self.until), !self.no_start, self.waiting);
        let vm = VmRef::Name(project.clone(), name.clone());
        let command = Command::CreateVm {
            project,
            name,
            start,
            labels: self.labels.iter().cloned().collect(),
            annotations: self.annotations.iter().cloned().collect(),
            protected: self.protect,
            spec: self.spec().into(),
        };
        let change = Change::of_vm("created", &vm, command);
        let change = if start { change.until(goal) } else { change };
        change.make(session, waiting, to).await
    }

    fn spec(self) -> VmSpec {
        let boot = Boot {
            kernel: self.kernel,
            initramfs: self.initramfs,
            cmdline: self.cmdline,
            firmware: self.firmware,
            order: Vec::new(),
        };
        let disks = self.disks.into_iter().enumerate();
        let nics = self.nics.into_iter().enumerate();
        VmSpec {
            disks: disks.map(|(place, disk)| disk.at(place)).collect(),
            nics: nics.map(|(place, nic)| nic.at(place)).collect(),
            hypervisor: self.hypervisor,
            stop_timeout: self.stop_timeout.unwrap_or_default(),
            on_host_loss: self.on_host_loss,
            restart: Restart {
                policy: self.restart,
                ..Restart::default()
            },
            start_priority: self.start_priority,
            ..VmSpec::new(CpuSpec::of(self.vcpus), MemorySpec::of(self.memory), boot)
        }
    }
}

fn cmdline(text: &str) -> Result<Cmdline, String> {
    Cmdline::try_from(text.to_owned()).map_err(|error| error.to_string())
}

pub(super) fn stop_timeout(text: &str) -> Result<StopTimeout, String> {
    let seconds: u32 = text
        .parse()
        .map_err(|_| "write a whole number of seconds, 1 to 3600".to_owned())?;
    StopTimeout::try_from(seconds).map_err(|error| error.to_string())
}

fn priority(text: &str) -> Result<StartPriority, String> {
    let number: i32 = text
        .parse()
        .map_err(|_| "write a whole number, -1000 to 1000".to_owned())?;
    StartPriority::try_from(number).map_err(|error| error.to_string())
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}
