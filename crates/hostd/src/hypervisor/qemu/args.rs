//! QEMU's command line for a machine. Pure. Paths of this daemon's choosing are relative to the run directory,
//! where QEMU is started, and a disk's path travels in JSON: nothing needs QEMU's own quoting.

use std::ffi::OsString;
use std::os::fd::RawFd;

use chv_domain::HypervisorKind;
use chv_domain::spec::{DiskFormat, NicBackend};
use serde_json::json;

use crate::hypervisor::agent::PORT_NAME;
use crate::hypervisor::error::HypervisorError;
use crate::hypervisor::instance::marker;
use crate::hypervisor::machine::{Machine, MachineDisk, MachineNic};
use crate::hypervisor::run_dir::{AGENT_SOCKET, CONSOLE_LOG, CONSOLE_SOCKET};

/// What the QEMU process itself is kept from, by seccomp.
const SANDBOX: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// How QEMU runs a guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accelerator {
    Kvm,
    Tcg,
}

impl Accelerator {
    pub(super) const fn kind(self) -> HypervisorKind {
        match self {
            Self::Kvm => HypervisorKind::QemuKvm,
            Self::Tcg => HypervisorKind::QemuTcg,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

    /// Everything that the accelerator can offer a guest: guests don't move between hosts yet.
    const fn cpu(self) -> &'static str {
        match self {
            Self::Kvm => "host",
            Self::Tcg => "max",
        }
    }
}

/// The command line for `machine`, without the program's name; QMP is spoken on the listening socket `qmp_fd`.
pub(super) fn args(
    machine: &Machine,
    accelerator: Accelerator,
    sandbox: bool,
    qmp_fd: RawFd,
) -> Result<Vec<OsString>, HypervisorError> {
    let cmdline = machine.kernel_cmdline(accelerator.kind())?;
    let mut args: Vec<OsString> = Vec::new();
    let mut option = |name: &str, value: OsString| args.extend([name.into(), value]);
    option("-name", marker(machine.vm, accelerator.kind()).into());
    // PCIe, an ACPI power button, and none of the old devices that can be left out.
    option("-machine", "q35,usb=off,vmport=off,sata=off,smbus=off".into());
    option("-accel", accelerator.name().into());
    option("-cpu", accelerator.cpu().into());
    option("-smp", machine.vcpus.to_string().into());
    option("-m", format!("{}M", machine.memory.mib()).into());
    option("-kernel", machine.kernel.clone().into());
    if let Some(initramfs) = &machine.initramfs {
        option("-initrd", initramfs.clone().into());
    }
    option("-append", cmdline.into());

    option(
        "-chardev",
        format!("socket,id=qmp,fd={qmp_fd},server=on,wait=off").into(),
    );
    option("-mon", "chardev=qmp,mode=control".into());
    option(
        "-chardev",
        format!(
            "socket,id=console,path={CONSOLE_SOCKET},server=on,wait=off,logfile={CONSOLE_LOG},logappend=on"
        )
        .into(),
    );
    option("-serial", "chardev:console".into());
    option(
        "-chardev",
        format!("socket,id=agent,path={AGENT_SOCKET},server=on,wait=off").into(),
    );
    option("-device", "virtio-serial-pci,id=ports,max_ports=2".into());
    option(
        "-device",
        format!("virtserialport,bus=ports.0,chardev=agent,name={PORT_NAME}").into(),
    );
    option("-device", "virtio-rng-pci".into());

    if let Some(disk) = &machine.disk {
        option("-blockdev", block_device(disk, accelerator.kind())?.into());
        option("-device", "virtio-blk-pci,drive=disk".into());
    }
    if let Some(MachineNic { mac, backend }) = &machine.nic {
        let netdev = match backend {
            NicBackend::User => "user,id=nic".to_owned(),
            NicBackend::Tap(ifname) => {
                format!("tap,id=nic,ifname={},script=no,downscript=no", ifname.as_str())
            }
        };
        option("-netdev", netdev.into());
        // No boot ROM: machines boot their kernel directly, and the ROM is in another package.
        option(
            "-device",
            format!("virtio-net-pci,netdev=nic,mac={mac},romfile=").into(),
        );
    }
    if sandbox {
        option("-sandbox", SANDBOX.into());
    }
    // A guest that reboots ends its process; whether it is started again is the scheduler's business.
    args.extend(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"].map(OsString::from));
    Ok(args)
}

fn block_device(disk: &MachineDisk, kind: HypervisorKind) -> Result<String, HypervisorError> {
    let path = disk.path.to_str().ok_or_else(|| HypervisorError::Unsupported {
        kind,
        feature: format!("a disk whose path is not UTF-8: {:?}", disk.path),
    })?;
    let file = json!({"driver": "file", "filename": path});
    let mut node = json!({
        "driver": disk.format.to_string(),
        "node-name": "disk",
        "read-only": disk.read_only,
        "file": file,
    });
    if disk.format == DiskFormat::Qcow2 {
        // The image's header may name any file of the host as its backing file: it is not followed.
        node["backing"] = serde_json::Value::Null;
    }
    Ok(node.to_string())
}

#[cfg(test)]
mod tests {
    use chv_domain::{Memory, Vcpus};

    use super::*;
    use crate::hypervisor::run_dir::RunDir;

    fn machine() -> Machine {
        Machine {
            vm: "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap(),
            run_dir: RunDir::new("/run/x").unwrap(),
            vcpus: Vcpus::new(2).unwrap(),
            memory: Memory::from_mib(512).unwrap(),
            kernel: "/images/vmlinuz".into(),
            initramfs: None,
            cmdline: "quiet panic=-1".to_owned().try_into().unwrap(),
            disk: None,
            nic: None,
        }
    }

    fn lines(machine: &Machine, accelerator: Accelerator) -> String {
        let words = args(machine, accelerator, true, 7).unwrap();
        let words: Vec<_> = words.iter().map(|word| word.to_str().unwrap()).collect();
        words
            .join("\n")
            .replace("\n-", "\n\u{1}-")
            .replace('\n', " ")
            .replace(" \u{1}", "\n")
    }

    #[test]
    fn given_the_smallest_machine_then_the_command_line_is_exactly_this() {
        assert_eq!(
            lines(&machine(), Accelerator::Tcg),
            "-name chv-01ARZ3NDEKTSV4RRFFQ69G5FAV-qemu-tcg
-machine q35,usb=off,vmport=off,sata=off,smbus=off
-accel tcg
-cpu max
-smp 2
-m 512M
-kernel /images/vmlinuz
-append console=ttyS0 quiet panic=-1
-chardev socket,id=qmp,fd=7,server=on,wait=off
-mon chardev=qmp,mode=control
-chardev socket,id=console,path=console.sock,server=on,wait=off,logfile=console.log,logappend=on
-serial chardev:console
-chardev socket,id=agent,path=agent.sock,server=on,wait=off
-device virtio-serial-pci,id=ports,max_ports=2
-device virtserialport,bus=ports.0,chardev=agent,name=org.chronovisor.agent.0
-device virtio-rng-pci
-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
-nodefaults
-no-user-config
-no-reboot
-display none"
        );
    }

    #[test]
    fn given_kvm_initramfs_disk_and_nic_then_their_options_are_exactly_these() {
        let mut machine = machine();
        machine.initramfs = Some("/images/initramfs.cpio".into());
        machine.disk = Some(MachineDisk {
            path: "/images/a,b \"c\".qcow2".into(),
            format: DiskFormat::Qcow2,
            read_only: false,
        });
        machine.nic = Some(MachineNic {
            mac: "52:54:00:12:34:56".parse().unwrap(),
            backend: NicBackend::Tap("tap0".to_owned().try_into().unwrap()),
        });
        let lines = lines(&machine, Accelerator::Kvm);
        for expected in [
            "-accel kvm\n-cpu host\n",
            "-initrd /images/initramfs.cpio\n",
            concat!(
                r#"-blockdev {"backing":null,"driver":"qcow2","file":{"driver":"file","#,
                r#""filename":"/images/a,b \"c\".qcow2"},"node-name":"disk","read-only":false}"#,
                "\n-device virtio-blk-pci,drive=disk\n",
                "-netdev tap,id=nic,ifname=tap0,script=no,downscript=no\n",
                "-device virtio-net-pci,netdev=nic,mac=52:54:00:12:34:56,romfile=\n",
            ),
        ] {
            assert!(lines.contains(expected), "{expected}\nis not in\n{lines}");
        }
    }

    #[test]
    fn given_a_raw_disk_and_the_user_network_then_no_backing_file_is_spoken_of() {
        let mut machine = machine();
        machine.disk = Some(MachineDisk {
            path: "/d.raw".into(),
            format: DiskFormat::Raw,
            read_only: true,
        });
        machine.nic = Some(MachineNic {
            mac: "52:54:00:00:00:01".parse().unwrap(),
            backend: NicBackend::User,
        });
        let lines = lines(&machine, Accelerator::Tcg);
        assert!(lines.contains(
            r#"-blockdev {"driver":"raw","file":{"driver":"file","filename":"/d.raw"},"node-name":"disk","read-only":true}"#
        ));
        assert!(lines.contains("-netdev user,id=nic\n"));
    }

    #[test]
    fn given_a_command_line_that_leaves_no_room_for_the_console_then_it_is_refused() {
        let mut machine = machine();
        machine.cmdline = "x".repeat(chv_domain::spec::MAX_CMDLINE).try_into().unwrap();
        assert!(matches!(
            args(&machine, Accelerator::Tcg, true, 7),
            Err(HypervisorError::Unsupported { .. })
        ));
    }
}
