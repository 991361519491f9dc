//! Processors.

use chv_domain::Vcpus;
use chv_domain::spec::{Affinity, CpuNumber, CpuSpec, Level, Topology};

use super::device::small;
use super::{each, given};
use crate::convert::error::{WireError, parse};
use crate::v1;

pub(crate) fn cpu_to_wire(cpu: &CpuSpec) -> v1::Cpu {
    v1::Cpu {
        vcpus: cpu.vcpus.get(),
        max: cpu.max.map_or(0, Vcpus::get),
        topology: cpu.topology.as_ref().map(|topology| v1::CpuTopology {
            threads_per_core: level_to_wire(topology.threads_per_core),
            cores_per_die: level_to_wire(topology.cores_per_die),
            dies_per_package: level_to_wire(topology.dies_per_package),
            packages: level_to_wire(topology.packages),
        }),
        nested: cpu.nested,
        hyperv: cpu.hyperv,
        features: cpu.features.iter().map(ToString::to_string).collect(),
        affinity: cpu.affinity.iter().map(affinity_to_wire).collect(),
        weight: small(cpu.weight),
        limit: small(cpu.limit),
    }
}

pub(super) fn cpu_from_wire(cpu: v1::Cpu) -> Result<CpuSpec, WireError> {
    let vcpus = |field: &str, count| Vcpus::new(count).map_err(|error| WireError::new(field, error));
    Ok(CpuSpec {
        vcpus: vcpus("vcpus", cpu.vcpus)?,
        max: (cpu.max != 0).then(|| vcpus("max", cpu.max)).transpose()?,
        topology: cpu
            .topology
            .map(topology_from_wire)
            .transpose()
            .map_err(|error| error.within("topology"))?,
        nested: cpu.nested,
        hyperv: cpu.hyperv,
        features: each("features", cpu.features, |feature| parse("feature", &feature))?,
        affinity: each("affinity", cpu.affinity, affinity_from_wire)?,
        weight: given("weight", u64::from(cpu.weight))?,
        limit: given("limit", u64::from(cpu.limit))?,
    })
}

fn topology_from_wire(topology: v1::CpuTopology) -> Result<Topology, WireError> {
    let level = |field: &str, count: u32| {
        Level::try_from(u64::from(count)).map_err(|error| WireError::new(field, error))
    };
    Ok(Topology {
        threads_per_core: level("threads_per_core", topology.threads_per_core)?,
        cores_per_die: level("cores_per_die", topology.cores_per_die)?,
        dies_per_package: level("dies_per_package", topology.dies_per_package)?,
        packages: level("packages", topology.packages)?,
    })
}

fn affinity_to_wire(affinity: &Affinity) -> v1::CpuAffinity {
    v1::CpuAffinity {
        vcpu: cpu_number_to_wire(affinity.vcpu),
        host_cpus: affinity
            .host_cpus
            .iter()
            .copied()
            .map(cpu_number_to_wire)
            .collect(),
    }
}

fn affinity_from_wire(affinity: v1::CpuAffinity) -> Result<Affinity, WireError> {
    let number = |field: &str, number: u32| {
        CpuNumber::try_from(u64::from(number)).map_err(|error| WireError::new(field, error))
    };
    Ok(Affinity {
        vcpu: number("vcpu", affinity.vcpu)?,
        host_cpus: cpu_numbers_from_wire("host_cpus", affinity.host_cpus)?,
    })
}

fn level_to_wire(level: Level) -> u32 {
    u32::try_from(level.get()).expect("at most 4096")
}

/// Numbers of processors.
pub(super) fn cpu_numbers_from_wire(field: &str, numbers: Vec<u32>) -> Result<Vec<CpuNumber>, WireError> {
    let number =
        |number: u32| CpuNumber::try_from(u64::from(number)).map_err(|error| WireError::new(field, error));
    numbers.into_iter().map(number).collect()
}

pub(super) fn cpu_number_to_wire(number: CpuNumber) -> u32 {
    u32::try_from(number.get()).expect("at most 8191")
}
