//! QEMU's command line for a machine. Pure. Paths of this daemon's choosing are relative to the run directory,
//! where QEMU is started, and a disk's path travels in JSON: nothing needs QEMU's own quoting.

mod attached;
mod cpu;
mod device;
pub(super) mod disk;
pub(super) mod memory;
pub(super) mod nic;
pub(super) mod port;
mod ports;
mod quoted;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::os::fd::RawFd;

use chv_domain::spec::MachineType;
use chv_domain::{HypervisorKind, VmSpec};

use crate::hypervisor::agent::PORT_NAME;
use crate::hypervisor::error::HypervisorError;
use crate::hypervisor::instance::marker;
use crate::hypervisor::machine::{Machine, Payload};
use crate::hypervisor::run_dir::AGENT_SOCKET;

/// PCIe, an ACPI power button, and none of the old devices that can be left out.
const Q35: &str = "q35,usb=off,vmport=off,sata=off,smbus=off";

/// The same of a microvm, which has neither by itself.
const MICROVM: &str = "microvm,pcie=on,acpi=on,rtc=on,x-option-roms=off";

/// Where the panic device is on the bus: the others' places are as without it.
const PANIC_SLOT: &str = "0x0f";

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
}

/// The bus of a machine without ports: what is on it stays there while the machine runs.
const ROOT_BUS: &str = "pcie.0";

fn machine_type(spec: &VmSpec) -> &'static str {
    match spec.machine {
        Some(MachineType::Q35) | None => Q35,
        Some(MachineType::Microvm) => MICROVM,
    }
}

/// The command line for `machine`, without the program's name; QMP is spoken on the listening socket `qmp_fd`.
pub(super) fn args(
    machine: &Machine,
    accelerator: Accelerator,
    sandbox: bool,
    qmp_fd: RawFd,
) -> Result<Vec<OsString>, HypervisorError> {
    let (kind, spec) = (accelerator.kind(), &machine.spec);
    let mut args: Vec<OsString> = Vec::new();
    let mut option = |name: &str, value: OsString| args.extend([name.into(), value]);
    option("-name", marker(machine.vm, kind).into());
    option(
        "-machine",
        format!("{}{}", machine_type(spec), memory::machine(&spec.memory)).into(),
    );
    option("-accel", accelerator.name().into());
    option("-cpu", cpu::model(&spec.cpu, accelerator).into());
    option("-smp", cpu::smp(&spec.cpu).into());
    let pmem = spec.pmem.iter().map(|pmem| u64::from(pmem.size.mib())).sum();
    for (name, value) in memory::options(&spec.memory, pmem) {
        option(name, value.into());
    }
    if spec.disks.iter().any(|disk| disk.iommu) || spec.nics.iter().any(|nic| nic.iommu) {
        option("-device", "virtio-iommu-pci".into());
    }
    match &machine.files.payload {
        Payload::Kernel { kernel, initramfs } => {
            option("-kernel", kernel.clone().into());
            if let Some(initramfs) = initramfs {
                option("-initrd", initramfs.clone().into());
            }
            option("-append", machine.kernel_cmdline(kind)?.into());
        }
        Payload::Firmware(firmware) => option("-bios", firmware.clone().into()),
    }

    option(
        "-chardev",
        format!("socket,id=qmp,fd={qmp_fd},server=on,wait=off").into(),
    );
    option("-mon", "chardev=qmp,mode=control".into());
    let files = &machine.files.attached;
    for (name, value) in ports::serial(&spec.serial, files.serial.as_deref()) {
        option(name, value.into());
    }
    option(
        "-chardev",
        format!("socket,id=agent,path={AGENT_SOCKET},server=on,wait=off").into(),
    );
    option("-device", "virtio-serial-pci,id=ports,max_ports=2".into());
    option(
        "-device",
        format!("virtserialport,bus=ports.0,chardev=agent,name={PORT_NAME}").into(),
    );
    for (name, value) in ports::console(&spec.console.0, files.console.as_deref()) {
        option(name, value.into());
    }
    option(
        "-object",
        format!("rng-random,id=rng,filename={}", spec.rng.path()).into(),
    );
    option("-device", "virtio-rng-pci,rng=rng".into());
    if spec.watchdog {
        option("-device", "i6300esb".into());
        option("-action", "watchdog=reset".into());
    }
    let rest = [
        attached::shares(spec, &files.shares),
        attached::pmem(spec, &files.pmem),
    ];
    let tpm = files.tpm.as_deref().map(attached::tpm);
    for (name, value) in rest.into_iter().chain(tpm).flatten() {
        option(name, value.into());
    }
    let has_ports = spec.machine != Some(MachineType::Microvm);
    if has_ports {
        for (name, value) in port::options(machine.disks().count() + spec.nics.len()) {
            option(name, value.into());
        }
    }
    let mut buses = (0..).map(port::name);
    let mut bus = || {
        let port = buses.next().unwrap_or_default();
        if has_ports { port } else { ROOT_BUS.to_owned() }
    };
    for (disk, path) in machine.disks() {
        for (name, value) in disk::options(&disk, path, machine.boot_place(&disk), kind, &bus())? {
            option(name, value.into());
        }
    }
    for (place, nic) in spec.nics.iter().enumerate() {
        let switch = files.switches.get(place).and_then(|switch| switch.as_deref());
        for (name, value) in nic::options(nic, machine.mac(nic), switch, &bus()) {
            option(name, value.into());
        }
    }
    if sandbox {
        option("-sandbox", SANDBOX.into());
    }
    // A kernel that panics says so, where it has a driver for that: an end, whatever it would do next.
    option("-device", format!("pvpanic-pci,addr={PANIC_SLOT}").into());
    option("-action", "panic=shutdown".into());
    // A machine that boots anew does so in place, reset by its guest or by this daemon.
    option("-action", "reboot=reset".into());
    args.extend(["-nodefaults", "-no-user-config", "-display", "none"].map(OsString::from));
    Ok(args)
}
