//! Where ports lead, NUMA nodes, and what else a machine reaches of its host.

use std::path::{Path, PathBuf};

use chv_domain::VmSpec;
use chv_domain::spec::{MemorySpec, PciSegment, Port, QueueSize};
use cloud_hypervisor_sdk::models::{
    ConsoleConfig, ConsoleMode, FsConfig, MemoryZoneConfig, NumaConfig, PlatformConfig, PmemConfig,
    SerialConfig, TpmConfig,
};

use super::device::{queue_size, segment};
use super::{bytes, lacks, text};
use crate::hypervisor::error::HypervisorError;
use crate::hypervisor::run_dir::{CONSOLE_SOCKET, SERIAL_SOCKET};

/// How many requests the queue of a share holds where nothing is said.
const SHARE_QUEUE: i32 = 1024;

pub(super) fn serial(port: &Port, file: Option<&Path>) -> Result<SerialConfig, HypervisorError> {
    let socket = |name: &str| SerialConfig {
        socket: Some(name.to_owned()),
        ..SerialConfig::new(ConsoleMode::Socket)
    };
    Ok(match (port, file) {
        (Port::Log, _) => socket(CONSOLE_SOCKET),
        (Port::Socket, _) => socket(SERIAL_SOCKET),
        (Port::File(_), Some(file)) => SerialConfig {
            file: Some(text("file", file)?),
            ..SerialConfig::new(ConsoleMode::File)
        },
        (port, _) => SerialConfig::new(mode(port)?),
    })
}

pub(super) fn console(port: &Port, file: Option<&Path>) -> Result<ConsoleConfig, HypervisorError> {
    Ok(match (port, file) {
        (Port::File(_), Some(file)) => ConsoleConfig {
            file: Some(text("file", file)?),
            ..ConsoleConfig::new(ConsoleMode::File)
        },
        (port, _) => ConsoleConfig::new(mode(port)?),
    })
}

fn mode(port: &Port) -> Result<ConsoleMode, HypervisorError> {
    match port {
        Port::Off => Ok(ConsoleMode::Off),
        Port::Null => Ok(ConsoleMode::Null),
        other => Err(lacks(format!("a port that leads to {other:?}"))),
    }
}

pub(super) fn zones(memory: &MemorySpec) -> Vec<MemoryZoneConfig> {
    let zones = memory.zones.iter().enumerate();
    zones
        .map(|(node, zone)| MemoryZoneConfig {
            shared: memory.shared.then_some(true),
            mergeable: memory.mergeable.then_some(true),
            prefault: memory.prefault.then_some(true),
            hugepages: memory.hugepages.map(|_| true),
            hugepage_size: memory.hugepages.map(|pages| bytes(pages.mib())),
            host_numa_node: zone
                .host_node
                .map(|node| i32::try_from(node.get()).expect("at most 1023")),
            ..MemoryZoneConfig::new(zone_name(node), bytes(zone.size.mib()))
        })
        .collect()
}

pub(super) fn numa(memory: &MemorySpec) -> Option<Vec<NumaConfig>> {
    let nodes = memory.zones.iter().zip(0..).map(|(zone, node)| NumaConfig {
        cpus: Some(
            zone.cpus
                .iter()
                .map(|cpu| i32::try_from(cpu.get()).expect("at most 8191"))
                .collect(),
        ),
        memory_zones: Some(vec![zone_name(usize::try_from(node).unwrap_or_default())]),
        ..NumaConfig::new(node)
    });
    (!memory.zones.is_empty()).then(|| nodes.collect())
}

fn zone_name(node: usize) -> String {
    format!("zone-{node}")
}

pub(super) fn shares(spec: &VmSpec, sockets: &[PathBuf]) -> Result<Option<Vec<FsConfig>>, HypervisorError> {
    let shares = spec.shares.iter().zip(sockets).map(|(share, socket)| {
        let size = share
            .queue_size
            .map_or(SHARE_QUEUE, |size: QueueSize| queue_size(size));
        Ok(FsConfig {
            pci_segment: share.pci_segment.map(segment),
            ..FsConfig::new(share.tag.to_string(), text("socket", socket)?, 1, size)
        })
    });
    some(shares.collect::<Result<_, HypervisorError>>()?)
}

pub(super) fn pmem(spec: &VmSpec, files: &[PathBuf]) -> Result<Option<Vec<PmemConfig>>, HypervisorError> {
    let pmem = spec.pmem.iter().zip(files).map(|(pmem, file)| {
        Ok(PmemConfig {
            id: Some(format!("pmem-{}", pmem.id)),
            size: Some(bytes(pmem.size.mib())),
            discard_writes: pmem.discard_writes.then_some(true),
            pci_segment: pmem.pci_segment.map(segment),
            ..PmemConfig::new(text("file", file)?)
        })
    });
    some(pmem.collect::<Result<_, HypervisorError>>()?)
}

fn some<T>(list: Vec<T>) -> Result<Option<Vec<T>>, HypervisorError> {
    Ok((!list.is_empty()).then_some(list))
}

pub(super) fn tpm(socket: Option<&Path>) -> Result<Option<TpmConfig>, HypervisorError> {
    let socket = socket.map(|path| text("socket", path)).transpose()?;
    Ok(socket.map(TpmConfig::new))
}

/// As many PCI segments as something is on.
pub(super) fn platform(spec: &VmSpec) -> Option<PlatformConfig> {
    let disks = spec.disks.iter().map(|disk| disk.pci_segment);
    let nics = spec.nics.iter().map(|nic| nic.pci_segment);
    let shares = spec.shares.iter().map(|share| share.pci_segment);
    let pmem = spec.pmem.iter().map(|pmem| pmem.pci_segment);
    let last: Option<PciSegment> = disks.chain(nics).chain(shares).chain(pmem).flatten().max();
    last.map(|last| PlatformConfig {
        num_pci_segments: Some(segment(last) + 1),
        ..PlatformConfig::new()
    })
}
