//! `chv vm create`: a VM from options.

use std::io::Write;

use chv_domain::spec::{
    Boot, Cmdline, CpuSpec, DeviceId, Disk, DiskFormat, HostPath, IfName, MacAddress, MemorySpec, Nic,
    NicBackend, OnHostLoss, StopTimeout,
};
use chv_domain::{Command, HypervisorKind, Memory, Vcpus, VmName, VmRef, VmSpec};

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
  chv vm create db --kernel k --nic tap=tap0 --label tier=data --no-start")]
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
    #[arg(long, value_name = "PATH", value_parser = host_path)]
    kernel: HostPath,
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
    /// A label; can be given many times.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
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
        };
        let disks = self.disks.into_iter().enumerate();
        let nics = self.nics.into_iter().enumerate();
        VmSpec {
            disks: disks.map(|(place, disk)| disk.at(place)).collect(),
            nics: nics.map(|(place, nic)| nic.at(place)).collect(),
            hypervisor: self.hypervisor,
            stop_timeout: self.stop_timeout.unwrap_or_default(),
            on_host_loss: self.on_host_loss,
            ..VmSpec::new(CpuSpec::of(self.vcpus), MemorySpec::of(self.memory), boot)
        }
    }
}

/// A disk of an option.
#[derive(Debug, Clone)]
struct AskedDisk {
    id: Option<DeviceId>,
    path: HostPath,
    format: DiskFormat,
    read_only: bool,
}

impl AskedDisk {
    fn at(self, place: usize) -> Disk {
        let id = self.id.unwrap_or_else(|| numbered("disk", place));
        Disk {
            read_only: self.read_only,
            ..Disk::new(id, self.path, self.format)
        }
    }
}

/// A network card of an option.
#[derive(Debug, Clone)]
struct AskedNic {
    id: Option<DeviceId>,
    backend: NicBackend,
    mac: Option<MacAddress>,
}

impl AskedNic {
    fn at(self, place: usize) -> Nic {
        let id = self.id.unwrap_or_else(|| numbered("nic", place));
        Nic {
            mac: self.mac,
            ..Nic::new(id, self.backend)
        }
    }
}

/// The id of a device that was given none.
fn numbered(kind: &str, place: usize) -> DeviceId {
    let id = format!("{kind}{place}").parse();
    id.expect("a word and a number that a command line has room for")
}

fn vcpus(text: &str) -> Result<Vcpus, String> {
    let count = text
        .parse()
        .map_err(|_| "write a whole number from 1".to_owned())?;
    Vcpus::new(count).map_err(|error| error.to_string())
}

fn host_path(text: &str) -> Result<HostPath, String> {
    HostPath::try_from(text.to_owned()).map_err(|error| error.to_string())
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

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

fn disk(text: &str) -> Result<AskedDisk, String> {
    let (mut id, mut path, mut format, mut read_only) = (None, None, None, false);
    for part in text.split(',') {
        match part.split_once('=').unwrap_or((part, "")) {
            ("id", value) => id = Some(device_id(value)?),
            ("path", value) => path = Some(host_path(value)?),
            ("format", "raw") => format = Some(DiskFormat::Raw),
            ("format", "qcow2") => format = Some(DiskFormat::Qcow2),
            ("format", other) => return Err(format!("the format is raw or qcow2, not `{other}`")),
            ("readonly", "") => read_only = true,
            _ => {
                return Err(format!(
                    "`{part}` is none of path=FILE, format=raw|qcow2, id=NAME, readonly"
                ));
            }
        }
    }
    Ok(AskedDisk {
        id,
        path: path.ok_or("it needs a path=FILE")?,
        format: format.ok_or("it needs a format=raw or format=qcow2; guessing would let a guest forge it")?,
        read_only,
    })
}

fn device_id(text: &str) -> Result<DeviceId, String> {
    text.parse()
        .map_err(|error: chv_domain::spec::DeviceIdError| error.to_string())
}

fn nic(text: &str) -> Result<AskedNic, String> {
    let (mut id, mut backend, mut mac) = (None, None, None);
    for part in text.split(',') {
        match part.split_once('=').unwrap_or((part, "")) {
            ("id", value) => id = Some(device_id(value)?),
            ("user", "") => backend = Some(NicBackend::User),
            ("tap", device) => {
                let device = IfName::try_from(device.to_owned()).map_err(|error| error.to_string())?;
                backend = Some(NicBackend::Tap(device));
            }
            ("mac", address) => {
                mac = Some(address.parse::<MacAddress>().map_err(|error| error.to_string())?);
            }
            _ => {
                return Err(format!(
                    "`{part}` is none of user, tap=DEVICE, id=NAME, mac=ADDRESS"
                ));
            }
        }
    }
    Ok(AskedNic {
        id,
        backend: backend.ok_or("it needs user or tap=DEVICE")?,
        mac,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_always_says_its_format() {
        let read = disk("path=a.qcow2,format=qcow2,readonly").unwrap();
        assert_eq!(
            (read.path.as_str(), read.format, read.read_only),
            ("a.qcow2", DiskFormat::Qcow2, true)
        );
        for (text, expected) in [
            ("path=a", "format"),
            ("format=raw", "path"),
            ("path=a,format=vhd", "raw or qcow2"),
            ("path=../a,format=raw", ".."),
            ("path=a,format=raw,size=3", "size=3"),
            ("", "none of"),
        ] {
            let error = disk(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn devices_are_numbered_unless_they_have_ids() {
        let asked = [
            disk("path=a,format=raw").unwrap(),
            disk("id=data,path=b,format=raw").unwrap(),
        ];
        let ids: Vec<_> = asked
            .into_iter()
            .enumerate()
            .map(|(place, disk)| disk.at(place).id)
            .collect();
        assert_eq!(
            ids.iter().map(DeviceId::as_str).collect::<Vec<_>>(),
            ["disk0", "data"]
        );
        assert_eq!(nic("user").unwrap().at(3).id.as_str(), "nic3");
    }

    #[test]
    fn a_nic_says_what_it_is_plugged_into() {
        assert_eq!(nic("user").unwrap().backend, NicBackend::User);
        let tap = nic("tap=tap0,mac=52:54:00:00:00:01").unwrap();
        assert_eq!(tap.mac.unwrap().to_string(), "52:54:00:00:00:01");
        for text in [
            "",
            "mac=52:54:00:00:00:01",
            "tap=",
            "tap=a/b",
            "user,mac=x",
            "bridge",
        ] {
            assert!(nic(text).is_err(), "{text}");
        }
    }
}
