//! QEMU's options for processors.

use std::fmt::Write as _;

use chv_domain::spec::CpuSpec;

use super::Accelerator;

/// Enlightenments that every Windows since 8 knows, and that need nothing of each other but this order of things.
const HYPERV: &str = ",hv-relaxed=on,hv-vapic=on,hv-spinlocks=0x1fff,hv-vpindex=on,hv-time=on";

/// Without SVM, QEMU leaves out the leaf of CPUID that says how cores are arranged, unless it is asked for.
const NO_NESTING: &str = ",svm=off,vmx=off,min-xlevel=0x80000008";

/// The value of `-cpu`: everything that the accelerator can offer a guest, for guests don't move between hosts yet, and
/// what the spec switches on or off.
pub(super) fn model(cpu: &CpuSpec, accelerator: Accelerator) -> String {
    let mut model = match accelerator {
        Accelerator::Kvm => "host",
        Accelerator::Tcg => "max",
    }
    .to_owned();
    if cpu.nested == Some(false) {
        model.push_str(NO_NESTING);
    }
    if accelerator == Accelerator::Kvm
        && cpu
            .topology
            .as_ref()
            .is_some_and(|topology| topology.threads_per_core.get() > 1)
    {
        // An AMD guest takes threads for cores without it.
        model.push_str(",topoext=on");
    }
    if cpu.hyperv {
        model.push_str(HYPERV);
    }
    for feature in &cpu.features {
        let switch = if feature.on() { "on" } else { "off" };
        push(&mut model, format_args!(",{}={switch}", feature.name()));
    }
    model
}

/// The value of `-smp`.
pub(super) fn smp(cpu: &CpuSpec) -> String {
    let mut smp = cpu.vcpus.to_string();
    if cpu.most() != cpu.vcpus {
        push(&mut smp, format_args!(",maxcpus={}", cpu.most()));
    }
    if let Some(topology) = &cpu.topology {
        push(
            &mut smp,
            format_args!(
                ",sockets={},dies={},cores={},threads={}",
                topology.packages,
                topology.dies_per_package,
                topology.cores_per_die,
                topology.threads_per_core
            ),
        );
    }
    smp
}

fn push(text: &mut String, more: std::fmt::Arguments<'_>) {
    text.write_fmt(more).expect("a text takes every text");
}
