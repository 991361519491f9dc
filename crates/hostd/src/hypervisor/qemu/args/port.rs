//! The ports of QEMU's PCI Express root that disks and network cards are in: only what is in one can be given to a guest
//! that runs, or taken from it.

use crate::plan::QEMU_FREE_PORTS;

/// The slot of the root bus where ports begin, each slot with so many of them.
const FIRST_SLOT: usize = 0x10;
const IN_A_SLOT: usize = 8;

/// How the names of ports begin.
pub(in crate::hypervisor::qemu) const NAME: &str = "port-";

/// What QEMU calls a port.
pub(super) fn name(number: usize) -> String {
    format!("{NAME}{number}")
}

/// The options for the ports of a machine that is started with so many devices. Those that are over are for devices that
/// come later.
pub(super) fn options(devices: usize) -> impl Iterator<Item = (&'static str, String)> {
    (0..devices + QEMU_FREE_PORTS).map(|number| {
        let (slot, function) = (FIRST_SLOT + number / IN_A_SLOT, number % IN_A_SLOT);
        let several = if function == 0 { ",multifunction=on" } else { "" };
        let port = format!(
            "pcie-root-port,id={},chassis={},addr={slot:#x}.{function:x}{several},io-reserve=0",
            name(number),
            number + 1
        );
        ("-device", port)
    })
}
