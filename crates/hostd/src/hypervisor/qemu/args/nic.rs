//! QEMU's options for a network card: what it is plugged into, and the device that the guest sees.

use chv_domain::spec::{MacAddress, Nic, NicBackend};

/// The options for `nic`, whose hardware address is `mac`.
pub(super) fn options(nic: &Nic, mac: MacAddress) -> Vec<(&'static str, String)> {
    let queues = nic.queues.map_or(1, |queues| queues.get());
    let mut netdev = match &nic.backend {
        NicBackend::User => format!("user,id=nic-{}", nic.id),
        NicBackend::Tap(ifname) => format!(
            "tap,id=nic-{},ifname={},script=no,downscript=no",
            nic.id,
            ifname.as_str()
        ),
    };
    // No boot ROM: machines boot their kernel directly, and the ROM is in another package.
    let mut device = format!(
        "virtio-net-pci,id=nic-{0},netdev=nic-{0},mac={mac},romfile=",
        nic.id
    );
    if queues > 1 {
        netdev.push_str(&format!(",queues={queues}"));
        // One vector for each queue of a pair, one for the control queue, one for changes of the configuration.
        device.push_str(&format!(",mq=on,vectors={}", 2 * queues + 2));
    }
    if let Some(size) = nic.queue_size {
        device.push_str(&format!(",rx_queue_size={}", size.get()));
    }
    if let Some(mtu) = nic.mtu {
        device.push_str(&format!(",host_mtu={mtu}"));
    }
    let off = |device: &mut String, features: &[&str]| {
        for feature in features {
            device.push_str(&format!(",{feature}=off"));
        }
    };
    if !nic.offloads.tso.is_on() {
        off(
            &mut device,
            &["host_tso4", "host_tso6", "guest_tso4", "guest_tso6"],
        );
    }
    if !nic.offloads.ufo.is_on() {
        off(&mut device, &["host_ufo", "guest_ufo"]);
    }
    if !nic.offloads.checksum.is_on() {
        off(&mut device, &["csum", "guest_csum"]);
    }
    vec![("-netdev", netdev), ("-device", device)]
}
