//! A machine as cloud-hypervisor's API takes it. Pure. Paths of this daemon's choosing are relative to the run
//! directory, where cloud-hypervisor is started.

mod attached;
mod cpu;
mod device;

pub(super) use device::{disk, disk_name, nic, nic_name};

#[cfg(test)]
mod tests;

use std::path::Path;

use chv_domain::HypervisorKind;
use chv_domain::spec::MemorySpec;
use cloud_hypervisor_sdk::models::{
    BalloonConfig, MemoryConfig, PayloadConfig, RngConfig, VmConfig, VsockConfig,
};

use crate::hypervisor::error::HypervisorError;
use crate::hypervisor::machine::{Machine, Payload};
use crate::hypervisor::run_dir::VSOCK;

const KIND: HypervisorKind = HypervisorKind::CloudHypervisor;

/// The first context id that a guest may have. Each guest's is behind a socket of its own, so all have the same.
const GUEST_CID: i64 = 3;

const MIB: i64 = 1 << 20;

/// The configuration to create `machine` with.
pub(super) fn config(machine: &Machine) -> Result<VmConfig, HypervisorError> {
    let spec = &machine.spec;
    let disks: Vec<_> = machine
        .disks()
        .map(|(disk, path)| device::disk(&disk, path))
        .collect::<Result<_, _>>()?;
    let files = &machine.files.attached;
    let nics = spec.nics.iter().enumerate().map(|(place, nic)| {
        let switch = files.switches.get(place).and_then(|switch| switch.as_deref());
        device::nic(nic, machine.mac(nic), switch)
    });
    let nics: Vec<_> = nics.collect::<Result<_, _>>()?;
    Ok(VmConfig {
        cpus: Some(cpu::cpus(&spec.cpu)?),
        memory: Some(memory(&spec.memory)),
        balloon: spec.memory.balloon.as_ref().map(|balloon| BalloonConfig {
            deflate_on_oom: Some(balloon.deflate_on_oom),
            free_page_reporting: Some(balloon.free_page_reporting),
            ..BalloonConfig::new(balloon.size.map_or(0, |size| bytes(size.mib())))
        }),
        rng: Some(RngConfig::new(spec.rng.path().to_owned())),
        watchdog: spec.watchdog.then_some(true),
        disks: (!disks.is_empty()).then_some(disks),
        net: (!nics.is_empty()).then_some(nics),
        fs: attached::shares(spec, &files.shares)?,
        pmem: attached::pmem(spec, &files.pmem)?,
        tpm: attached::tpm(files.tpm.as_deref())?,
        platform: attached::platform(spec),
        numa: attached::numa(&spec.memory),
        pvpanic: spec.panic_device.then_some(true),
        serial: Some(attached::serial(&spec.serial, files.serial.as_deref())?),
        console: Some(attached::console(&spec.console.0, files.console.as_deref())?),
        vsock: Some(VsockConfig::new(GUEST_CID, VSOCK.to_owned())),
        ..VmConfig::new(payload(machine)?)
    })
}

fn payload(machine: &Machine) -> Result<PayloadConfig, HypervisorError> {
    Ok(match &machine.files.payload {
        Payload::Kernel { kernel, initramfs } => PayloadConfig {
            kernel: Some(text("kernel", kernel)?),
            initramfs: initramfs
                .as_deref()
                .map(|path| text("initramfs", path))
                .transpose()?,
            cmdline: Some(machine.kernel_cmdline(KIND)?),
            ..PayloadConfig::new()
        },
        Payload::Firmware(firmware) => PayloadConfig {
            firmware: Some(text("firmware", firmware)?),
            ..PayloadConfig::new()
        },
    })
}

fn bytes(mib: u32) -> i64 {
    i64::from(mib) * MIB
}

fn memory(memory: &MemorySpec) -> MemoryConfig {
    if !memory.zones.is_empty() {
        // Each zone says what its memory is.
        return MemoryConfig {
            zones: Some(attached::zones(memory)),
            thp: memory.transparent_hugepages,
            ..MemoryConfig::new(0)
        };
    }
    MemoryConfig {
        hotplug_size: memory.hotplug.as_ref().map(|hotplug| bytes(hotplug.size.mib())),
        hotplug_method: memory.hotplug.as_ref().map(|hotplug| {
            use chv_domain::spec::HotplugMethod as Method;
            match hotplug.method {
                Method::Acpi => "Acpi",
                Method::VirtioMem => "VirtioMem",
            }
            .to_owned()
        }),
        hugepages: memory.hugepages.map(|_| true),
        hugepage_size: memory.hugepages.map(|pages| bytes(pages.mib())),
        shared: memory.shared.then_some(true),
        mergeable: memory.mergeable.then_some(true),
        prefault: memory.prefault.then_some(true),
        thp: memory.transparent_hugepages,
        ..MemoryConfig::new(bytes(memory.size.mib()))
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
