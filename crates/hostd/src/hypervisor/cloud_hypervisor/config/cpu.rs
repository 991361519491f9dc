//! Processors.

use chv_domain::Vcpus;
use chv_domain::spec::{CpuNumber, CpuSpec, Level};
use cloud_hypervisor_sdk::models::{CpuAffinity, CpuFeatures, CpuTopology, CpusConfig};

use super::lacks;
use crate::hypervisor::error::HypervisorError;

pub(super) fn cpus(cpu: &CpuSpec) -> Result<CpusConfig, HypervisorError> {
    let count = |vcpus: Vcpus| i32::try_from(vcpus.get()).map_err(|_| lacks(format!("{vcpus} vCPUs")));
    let amx = cpu.features.iter().any(|feature| feature.as_str() == "+amx");
    let affinity = cpu.affinity.iter().map(|affinity| {
        let host_cpus = affinity.host_cpus.iter().copied().map(number).collect();
        CpuAffinity::new(number(affinity.vcpu), host_cpus)
    });
    Ok(CpusConfig {
        topology: cpu.topology.as_ref().map(|topology| CpuTopology {
            threads_per_core: Some(level(topology.threads_per_core)),
            cores_per_die: Some(level(topology.cores_per_die)),
            dies_per_package: Some(level(topology.dies_per_package)),
            packages: Some(level(topology.packages)),
        }),
        nested: cpu.nested,
        kvm_hyperv: cpu.hyperv.then_some(true),
        features: amx.then_some(CpuFeatures { amx: Some(true) }),
        affinity: (!cpu.affinity.is_empty()).then(|| affinity.collect()),
        ..CpusConfig::new(count(cpu.vcpus)?, count(cpu.most())?)
    })
}

fn level(level: Level) -> i32 {
    i32::try_from(level.get()).expect("at most 4096")
}

fn number(number: CpuNumber) -> i32 {
    i32::try_from(number.get()).expect("at most 8191")
}
