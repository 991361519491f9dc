//! The kinds of machines that QEMU makes.

use super::choice::choice;
use super::part::{Lack, Part};
use crate::host::HypervisorKind;

choice! {
    /// A kind of machine.
    pub enum MachineType {
        /// A PC of today, with PCI Express.
        Q35 = "q35",
        /// Little more than what a guest needs that knows it is one: nothing is added to it while it runs, and no firmware
        /// boots on it.
        Microvm = "microvm",
    }
}

impl Part for MachineType {
    fn values() -> String {
        "q35, or with KVM microvm, which boots a kernel directly and takes no more processors or memory while it runs"
            .to_owned()
    }

    /// A microvm has no clock to measure another by. Over KVM the hypervisor tells the guest the time; where its
    /// processor is emulated, Linux gives up on a busy host.
    fn lacks(&self, kind: HypervisorKind) -> Option<Lack> {
        let lacks = (*self, kind) == (Self::Microvm, HypervisorKind::QemuTcg);
        lacks.then(|| Lack::new("", "is microvm: that needs qemu-kvm"))
    }
}
