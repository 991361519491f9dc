//! A machine as cloud-hypervisor's API takes it. Pure. Paths of this daemon's choosing are relative to the run
//! directory, where cloud-hypervisor is started.

use std::path::Path;

use chv_domain::HypervisorKind;
use chv_domain::spec::{DiskFormat, NicBackend};
use cloud_hypervisor_sdk::models::{
    ConsoleConfig, ConsoleMode, CpusConfig, DiskConfig, ImageType, MemoryConfig, NetConfig, PayloadConfig,
    RngConfig, SerialConfig, VmConfig, VsockConfig,
};

use crate::hypervisor::error::HypervisorError;
use crate::hypervisor::machine::{Machine, MachineDisk, MachineNic};
use crate::hypervisor::run_dir::{CONSOLE_SOCKET, VSOCK};

const KIND: HypervisorKind = HypervisorKind::CloudHypervisor;

/// The first context id that a guest may have. Each guest's is behind a socket of its own, so all have the same.
const GUEST_CID: i64 = 3;

/// The configuration to create `machine` with.
pub(super) fn config(machine: &Machine) -> Result<VmConfig, HypervisorError> {
    let vcpus = i32::try_from(machine.vcpus.get()).map_err(|_| lacks(format!("{} vCPUs", machine.vcpus)))?;
    let memory =
        i64::try_from(machine.memory.bytes()).map_err(|_| lacks(format!("{} of memory", machine.memory)))?;
    Ok(VmConfig {
        cpus: Some(CpusConfig::new(vcpus, vcpus)),
        memory: Some(MemoryConfig::new(memory)),
        rng: Some(RngConfig::new("/dev/urandom".to_owned())),
        disks: machine
            .disk
            .as_ref()
            .map(|disk| disk_config(disk).map(|disk| vec![disk]))
            .transpose()?,
        net: machine
            .nic
            .as_ref()
            .map(|nic| nic_config(nic).map(|nic| vec![nic]))
            .transpose()?,
        serial: Some(SerialConfig {
            socket: Some(CONSOLE_SOCKET.to_owned()),
            ..SerialConfig::new(ConsoleMode::Socket)
        }),
        console: Some(ConsoleConfig::new(ConsoleMode::Off)),
        vsock: Some(VsockConfig::new(GUEST_CID, VSOCK.to_owned())),
        ..VmConfig::new(PayloadConfig {
            kernel: Some(text("kernel", &machine.kernel)?),
            initramfs: machine
                .initramfs
                .as_deref()
                .map(|path| text("initramfs", path))
                .transpose()?,
            cmdline: Some(machine.kernel_cmdline(KIND)?),
            ..PayloadConfig::new()
        })
    })
}

fn disk_config(disk: &MachineDisk) -> Result<DiskConfig, HypervisorError> {
    Ok(DiskConfig {
        path: Some(text("disk", &disk.path)?),
        readonly: Some(disk.read_only),
        // Said always: what is guessed from an image's first bytes, a guest can forge.
        image_type: Some(match disk.format {
            DiskFormat::Raw => ImageType::Raw,
            DiskFormat::Qcow2 => ImageType::Qcow2,
        }),
        backing_files: Some(false),
        ..DiskConfig::new()
    })
}

fn nic_config(nic: &MachineNic) -> Result<NetConfig, HypervisorError> {
    match &nic.backend {
        NicBackend::User => Err(lacks("the user network; use a TAP device, or QEMU".to_owned())),
        NicBackend::Tap(ifname) => Ok(NetConfig {
            tap: Some(ifname.as_str().to_owned()),
            mac: Some(nic.mac.to_string()),
            ..NetConfig::new()
        }),
    }
}

fn text(what: &str, path: &Path) -> Result<String, HypervisorError> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| lacks(format!("a {what} whose path is not UTF-8: {path:?}")))
}

fn lacks(feature: String) -> HypervisorError {
    HypervisorError::Unsupported { kind: KIND, feature }
}

#[cfg(test)]
mod tests {
    use chv_domain::{Memory, Vcpus};
    use serde_json::json;

    use super::*;
    use crate::hypervisor::run_dir::RunDir;

    fn machine() -> Machine {
        Machine {
            vm: "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap(),
            run_dir: RunDir::new("/run/x").unwrap(),
            vcpus: Vcpus::new(2).unwrap(),
            memory: Memory::from_mib(512).unwrap(),
            kernel: "/images/vmlinuz".into(),
            initramfs: Some("/images/initramfs.cpio".into()),
            cmdline: "quiet".to_owned().try_into().unwrap(),
            disk: None,
            nic: None,
        }
    }

    #[test]
    fn given_a_machine_with_everything_then_the_request_is_exactly_this() {
        let mut machine = machine();
        machine.disk = Some(MachineDisk {
            path: "/images/d.qcow2".into(),
            format: DiskFormat::Qcow2,
            read_only: true,
        });
        machine.nic = Some(MachineNic {
            mac: "52:54:00:12:34:56".parse().unwrap(),
            backend: NicBackend::Tap("tap0".to_owned().try_into().unwrap()),
        });
        assert_eq!(
            serde_json::to_value(config(&machine).unwrap()).unwrap(),
            json!({
                "cpus": {"boot_vcpus": 2, "max_vcpus": 2},
                "memory": {"size": 536_870_912},
                "payload": {
                    "kernel": "/images/vmlinuz",
                    "initramfs": "/images/initramfs.cpio",
                    "cmdline": "console=ttyS0 quiet",
                },
                "disks": [{
                    "path": "/images/d.qcow2", "readonly": true, "image_type": "Qcow2", "backing_files": false,
                }],
                "net": [{"tap": "tap0", "mac": "52:54:00:12:34:56"}],
                "rng": {"src": "/dev/urandom"},
                "serial": {"mode": "Socket", "socket": "console.sock"},
                "console": {"mode": "Off"},
                "vsock": {"cid": 3, "socket": "vsock"},
            })
        );
    }

    #[test]
    fn given_the_user_network_then_it_is_refused_with_a_way_out() {
        let mut machine = machine();
        machine.nic = Some(MachineNic {
            mac: "52:54:00:12:34:56".parse().unwrap(),
            backend: NicBackend::User,
        });
        let error = config(&machine).unwrap_err();
        assert!(matches!(&error, HypervisorError::Unsupported { feature, .. } if feature.contains("QEMU")));
    }
}
