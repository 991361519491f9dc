//! Memory.

use chv_domain::Memory;
use chv_domain::spec::{Balloon, HostNode, Hotplug, HotplugMethod, MemorySpec, MemoryZone};

use super::cpu::{cpu_number_to_wire, cpu_numbers_from_wire};
use super::each;
use crate::convert::error::{WireError, parse_optional};
use crate::v1;

pub(crate) fn memory_to_wire(memory: &MemorySpec) -> v1::Memory {
    v1::Memory {
        size_mib: memory.size.mib(),
        hotplug: memory.hotplug.as_ref().map(hotplug_to_wire),
        hugepages: memory
            .hugepages
            .map(|pages| pages.to_string())
            .unwrap_or_default(),
        shared: memory.shared,
        mergeable: memory.mergeable,
        prefault: memory.prefault,
        transparent_hugepages: memory.transparent_hugepages,
        zones: memory.zones.iter().map(zone_to_wire).collect(),
        balloon: memory.balloon.as_ref().map(|balloon| v1::Balloon {
            deflate_on_oom: balloon.deflate_on_oom,
            free_page_reporting: balloon.free_page_reporting,
            size_mib: balloon.size.map_or(0, Memory::mib),
        }),
    }
}

pub(super) fn memory_from_wire(memory: v1::Memory) -> Result<MemorySpec, WireError> {
    Ok(MemorySpec {
        size: amount(memory.size_mib)?,
        hotplug: memory
            .hotplug
            .map(hotplug_from_wire)
            .transpose()
            .map_err(|error| error.within("hotplug"))?,
        hugepages: parse_optional("hugepages", &memory.hugepages)?,
        shared: memory.shared,
        mergeable: memory.mergeable,
        prefault: memory.prefault,
        transparent_hugepages: memory.transparent_hugepages,
        zones: each("zones", memory.zones, zone_from_wire)?,
        balloon: memory
            .balloon
            .map(balloon_from_wire)
            .transpose()
            .map_err(|error| error.within("balloon"))?,
    })
}

fn balloon_from_wire(balloon: v1::Balloon) -> Result<Balloon, WireError> {
    Ok(Balloon {
        size: (balloon.size_mib != 0)
            .then(|| amount(balloon.size_mib))
            .transpose()?,
        deflate_on_oom: balloon.deflate_on_oom,
        free_page_reporting: balloon.free_page_reporting,
    })
}

fn zone_to_wire(zone: &MemoryZone) -> v1::MemoryZone {
    v1::MemoryZone {
        size_mib: zone.size.mib(),
        cpus: zone.cpus.iter().copied().map(cpu_number_to_wire).collect(),
        host_node: zone
            .host_node
            .map(|node| u32::try_from(node.get()).expect("at most 1023")),
    }
}

fn zone_from_wire(zone: v1::MemoryZone) -> Result<MemoryZone, WireError> {
    let node = zone.host_node.map(|node| HostNode::try_from(u64::from(node)));
    Ok(MemoryZone {
        size: amount(zone.size_mib)?,
        cpus: cpu_numbers_from_wire("cpus", zone.cpus)?,
        host_node: node
            .transpose()
            .map_err(|error| WireError::new("host_node", error))?,
    })
}

fn hotplug_to_wire(hotplug: &Hotplug) -> v1::MemoryHotplug {
    v1::MemoryHotplug {
        size_mib: hotplug.size.mib(),
        method: match hotplug.method {
            HotplugMethod::Acpi => String::new(),
            other => other.to_string(),
        },
    }
}

fn hotplug_from_wire(hotplug: v1::MemoryHotplug) -> Result<Hotplug, WireError> {
    Ok(Hotplug {
        size: amount(hotplug.size_mib)?,
        method: parse_optional("method", &hotplug.method)?.unwrap_or_default(),
    })
}

pub(super) fn amount(mib: u32) -> Result<Memory, WireError> {
    Memory::from_mib(mib).map_err(|error| WireError::new("size_mib", error))
}
