//! Specifications of VMs.

use chv_domain::VmSpec;
use chv_domain::spec::{Boot, Cmdline, Disk, DiskFormat, HostPath, IfName, Nic, NicBackend, StopTimeout};
use chv_domain::units::{Memory, Vcpus};

use super::error::{WireError, parse_optional};
use crate::v1;

/// A specification, as it is sent.
pub fn spec_to_wire(spec: &VmSpec) -> v1::VmSpec {
    v1::VmSpec {
        vcpus: spec.vcpus.get(),
        memory_mib: spec.memory.mib(),
        boot: Some(v1::Boot {
            kernel: spec.boot.kernel.to_string(),
            initramfs: spec
                .boot
                .initramfs
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            cmdline: spec.boot.cmdline.as_str().to_owned(),
        }),
        disk: spec.disk.as_ref().map(disk_to_wire),
        nic: spec.nic.as_ref().map(nic_to_wire),
        hypervisor: spec.hypervisor.map(|kind| kind.to_string()).unwrap_or_default(),
        stop_timeout_s: spec.stop_timeout.seconds(),
        on_host_loss: spec.on_host_loss.to_string(),
    }
}

/// A specification that was sent. Fields are named from the specification's own root.
pub fn spec_from_wire(spec: v1::VmSpec) -> Result<VmSpec, WireError> {
    let boot = spec.boot.ok_or_else(|| WireError::missing("boot"))?;
    let stop_timeout = stop_timeout("stop_timeout_s", spec.stop_timeout_s)?;
    Ok(VmSpec {
        vcpus: Vcpus::new(spec.vcpus).map_err(|error| WireError::new("vcpus", error))?,
        memory: Memory::from_mib(spec.memory_mib).map_err(|error| WireError::new("memory_mib", error))?,
        boot: boot_from_wire(boot).map_err(|error| error.within("boot"))?,
        disk: spec
            .disk
            .map(disk_from_wire)
            .transpose()
            .map_err(|error| error.within("disk"))?,
        nic: spec
            .nic
            .map(nic_from_wire)
            .transpose()
            .map_err(|error| error.within("nic"))?,
        hypervisor: parse_optional("hypervisor", &spec.hypervisor)?,
        stop_timeout: stop_timeout.unwrap_or_default(),
        on_host_loss: parse_optional("on_host_loss", &spec.on_host_loss)?.unwrap_or_default(),
    })
}

/// A stop timeout in seconds, where 0 stands for none.
pub(super) fn stop_timeout(field: &str, seconds: u32) -> Result<Option<StopTimeout>, WireError> {
    match seconds {
        0 => Ok(None),
        seconds => StopTimeout::try_from(seconds)
            .map(Some)
            .map_err(|error| WireError::new(field, error)),
    }
}

fn path(field: &str, text: String) -> Result<HostPath, WireError> {
    HostPath::try_from(text).map_err(|error| WireError::new(field, error))
}

fn boot_from_wire(boot: v1::Boot) -> Result<Boot, WireError> {
    Ok(Boot {
        kernel: path("kernel", boot.kernel)?,
        initramfs: match boot.initramfs {
            none if none.is_empty() => None,
            text => Some(path("initramfs", text)?),
        },
        cmdline: Cmdline::try_from(boot.cmdline).map_err(|error| WireError::new("cmdline", error))?,
    })
}

pub(super) fn disk_to_wire(disk: &Disk) -> v1::Disk {
    let format = match disk.format {
        DiskFormat::Raw => v1::DiskFormat::Raw,
        DiskFormat::Qcow2 => v1::DiskFormat::Qcow2,
    };
    v1::Disk {
        path: disk.path.to_string(),
        format: format.into(),
        read_only: disk.read_only,
    }
}

fn disk_from_wire(disk: v1::Disk) -> Result<Disk, WireError> {
    let format = match disk.format() {
        v1::DiskFormat::Raw => DiskFormat::Raw,
        v1::DiskFormat::Qcow2 => DiskFormat::Qcow2,
        v1::DiskFormat::Unspecified => {
            return Err(WireError::new("format", "must be said: raw or qcow2"));
        }
    };
    Ok(Disk {
        path: path("path", disk.path)?,
        format,
        read_only: disk.read_only,
    })
}

pub(super) fn nic_to_wire(nic: &Nic) -> v1::Nic {
    let backend = match &nic.backend {
        NicBackend::User => v1::nic::Backend::User(v1::UserNetwork {}),
        NicBackend::Tap(name) => v1::nic::Backend::Tap(name.as_str().to_owned()),
    };
    v1::Nic {
        backend: Some(backend),
        mac: nic.mac.map(|mac| mac.to_string()).unwrap_or_default(),
    }
}

fn nic_from_wire(nic: v1::Nic) -> Result<Nic, WireError> {
    let backend = match nic.backend.ok_or_else(|| WireError::missing("backend"))? {
        v1::nic::Backend::User(v1::UserNetwork {}) => NicBackend::User,
        v1::nic::Backend::Tap(name) => {
            NicBackend::Tap(IfName::try_from(name).map_err(|error| WireError::new("tap", error))?)
        }
    };
    Ok(Nic {
        backend,
        mac: parse_optional("mac", &nic.mac)?,
    })
}
