//! QEMU's options for a network card: what it is plugged into, and the device that the guest sees.

use std::path::Path;

use chv_domain::spec::{DeviceId, MacAddress, Nic, NicBackend};
use serde_json::{Value, json};

use super::attached;
use super::device::{Device, words};

/// What QEMU makes of a network card.
pub(in crate::hypervisor::qemu) struct Parts {
    /// What it is plugged into.
    pub(in crate::hypervisor::qemu) netdev: Value,
    /// What the guest sees.
    pub(in crate::hypervisor::qemu) device: Device,
}

/// What is made of `nic`, whose hardware address is `mac`.
pub(in crate::hypervisor::qemu) fn parts(nic: &Nic, mac: MacAddress) -> Parts {
    let queues = nic.queues.map_or(1, |queues| queues.get());
    let name = name(&nic.id);
    let mut netdev = match &nic.backend {
        NicBackend::User => json!({"type": "user", "id": name}),
        NicBackend::Tap(ifname) => json!({
            "type": "tap", "id": name, "ifname": ifname.as_str(), "script": "no", "downscript": "no",
        }),
        NicBackend::VhostUser(_) | NicBackend::VhostUserServer => {
            json!({"type": "vhost-user", "id": name, "chardev": name})
        }
    };
    // No boot ROM: machines boot their kernel directly, and the ROM is in another package.
    let mut device = Device::new("virtio-net-pci")
        .with("id", name.as_str())
        .with("netdev", name.as_str())
        .with("mac", mac.to_string())
        .with("romfile", "");
    if queues > 1 {
        netdev["queues"] = json!(queues);
        // One vector for each queue of a pair, one for the control queue, one for changes of the configuration.
        device = device.with("mq", true).with("vectors", 2 * queues + 2);
    }
    if let Some(size) = nic.queue_size {
        device = device.with("rx_queue_size", size.get());
    }
    if let Some(mtu) = nic.mtu {
        device = device.with("host_mtu", mtu.get());
    }
    let mut off: Vec<&str> = Vec::new();
    if !nic.offloads.tso.is_on() {
        off.extend(["host_tso4", "host_tso6", "guest_tso4", "guest_tso6"]);
    }
    if !nic.offloads.ufo.is_on() {
        off.extend(["host_ufo", "guest_ufo"]);
    }
    if !nic.offloads.checksum.is_on() {
        off.extend(["csum", "guest_csum"]);
    }
    let device = off
        .into_iter()
        .fold(device, |device, feature| device.with(feature, false))
        .behind_iommu(nic.iommu);
    Parts { netdev, device }
}

/// What QEMU calls a network card.
pub(in crate::hypervisor::qemu) fn name(id: &DeviceId) -> String {
    format!("nic-{id}")
}

/// The options for `nic`, whose hardware address is `mac`, on the bus `bus`. Where it is plugged into a switch by vhost-user,
/// `switch` is that one's socket.
pub(super) fn options(
    nic: &Nic,
    mac: MacAddress,
    switch: Option<&Path>,
    bus: &str,
) -> Vec<(&'static str, String)> {
    let Parts { netdev, device } = parts(nic, mac);
    let name = name(&nic.id);
    let chardev = match (&nic.backend, switch) {
        (NicBackend::VhostUserServer, _) => Some((
            "-chardev",
            format!("socket,id={name},path={name}.sock,server=on,wait=off"),
        )),
        (_, switch) => switch.map(|path| attached::socket(&name, path)),
    };
    let options = [
        ("-netdev", words("type", &netdev)),
        ("-device", device.words(bus)),
    ];
    chardev.into_iter().chain(options).collect()
}
