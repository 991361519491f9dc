//! Parts of a VM's memory, each near some of its processors.

use super::cpu::CpuNumber;
use super::fields::{Rules, spec};
use super::part::Fault;
use super::within::Within;
use crate::units::Memory;

/// The number of one of the host's NUMA nodes.
pub type HostNode = Within<0, 1023>;

spec! {
    /// A NUMA node of the guest's. They are numbered from 0, as they are given.
    pub struct MemoryZone {
        required {
            /// How much memory is in it.
            size: Memory;
            /// The vCPUs that are near it, from 0. Each vCPU is in one zone.
            cpus: Vec<CpuNumber>;
        }
        optional {
            /// The host's NUMA node that its memory is taken from.
            host_node: Option<HostNode> = "any";
        }
    }
}

impl Rules for MemoryZone {}

/// Whether `zones` divide `vcpus` among them, each in one.
pub(super) fn fault(zones: &[MemoryZone], vcpus: u32) -> Option<Fault> {
    if zones.is_empty() {
        return None;
    }
    let mut seen = std::collections::BTreeSet::new();
    for (index, zone) in zones.iter().enumerate() {
        for cpu in &zone.cpus {
            let at = format!("memory.zones[{index}].cpus");
            if cpu.get() >= u64::from(vcpus) {
                return Some(Fault::new(
                    &at,
                    format!("there is no vCPU {cpu}; they count from 0"),
                ));
            }
            if !seen.insert(cpu.get()) {
                return Some(Fault::new(&at, format!("vCPU {cpu} is in a zone already")));
            }
        }
    }
    let missing = (0..u64::from(vcpus)).find(|cpu| !seen.contains(cpu))?;
    Some(Fault::new(
        "memory.zones",
        format!("vCPU {missing} is in no zone"),
    ))
}
