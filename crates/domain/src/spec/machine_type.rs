//! The kinds of machines that QEMU makes.

use super::choice::choice;
use super::part::Part;

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
        "q35, or microvm, which boots a kernel directly and takes no more processors or memory while it runs"
            .to_owned()
    }
}
