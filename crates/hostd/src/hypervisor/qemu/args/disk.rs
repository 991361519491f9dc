//! QEMU's options for a disk: its limit, its image as nodes on top of each other, and the device that the guest sees.

use std::path::Path;

use chv_domain::HypervisorKind;
use chv_domain::spec::{DeviceId, Disk, DiskFormat, RateLimit, TokenBucket};
use serde_json::{Value, json};

use super::attached;
use super::device::Device;
use crate::hypervisor::error::HypervisorError;

/// What QEMU makes of a disk.
pub(in crate::hypervisor::qemu) struct Parts {
    /// What limits it, if anything does.
    pub(in crate::hypervisor::qemu) limit: Option<Value>,
    /// Its image.
    pub(in crate::hypervisor::qemu) node: Value,
    /// What the guest sees.
    pub(in crate::hypervisor::qemu) device: Device,
}

/// What is made of `disk`, whose image is the file `path`.
pub(in crate::hypervisor::qemu) fn parts(
    disk: &Disk,
    path: &Path,
    kind: HypervisorKind,
) -> Result<Parts, HypervisorError> {
    let path = path.to_str().ok_or_else(|| HypervisorError::Unsupported {
        kind,
        feature: format!("a disk whose path is not UTF-8: {path:?}"),
    })?;
    let mut node = image(disk, path);
    let limit = disk.rate_limit.as_ref().map(|limit| {
        let group = limit_name(&disk.id);
        node = json!({"driver": "throttle", "throttle-group": group, "file": node.take()});
        throttle_group(&group, limit)
    });
    let name = name(&disk.id);
    node["node-name"] = json!(name);
    node["read-only"] = json!(disk.read_only);
    // QEMU would give it a queue for each vCPU.
    let queues = disk.queues.map_or(1, |queues| queues.get());
    let mut device = Device::new("virtio-blk-pci")
        .with("id", name.as_str())
        .with("drive", name.as_str())
        .with("serial", disk.serial())
        .with("num-queues", queues);
    if let Some(size) = disk.queue_size {
        device = device.with("queue-size", size.get());
    }
    let device = device.behind_iommu(disk.iommu);
    Ok(Parts { limit, node, device })
}

/// What QEMU calls a disk.
pub(in crate::hypervisor::qemu) fn name(id: &DeviceId) -> String {
    format!("disk-{id}")
}

/// What QEMU calls the limit of a disk.
pub(in crate::hypervisor::qemu) fn limit_name(id: &DeviceId) -> String {
    format!("limit-{id}")
}

/// The options for `disk`, whose image is the file `path`, on the bus `bus`; it is booted from at `boot_place`.
pub(super) fn options(
    disk: &Disk,
    path: &Path,
    boot_place: Option<usize>,
    kind: HypervisorKind,
    bus: &str,
) -> Result<Vec<(&'static str, String)>, HypervisorError> {
    if disk.format == DiskFormat::VhostUser {
        return Ok(served(disk, path, boot_place, bus).into());
    }
    let Parts {
        limit,
        node,
        mut device,
    } = parts(disk, path, kind)?;
    if let Some(place) = boot_place {
        device = device.with("bootindex", place);
    }
    let limit = limit.map(|limit| ("-object", limit.to_string()));
    let rest = [("-blockdev", node.to_string()), ("-device", device.words(bus))];
    Ok(limit.into_iter().chain(rest).collect())
}

/// The options for a disk that another process serves.
fn served(disk: &Disk, socket: &Path, boot_place: Option<usize>, bus: &str) -> [(&'static str, String); 2] {
    let name = name(&disk.id);
    let queues = disk.queues.map_or(1, |queues| queues.get());
    let mut device = Device::new("vhost-user-blk-pci")
        .with("id", name.as_str())
        .with("chardev", name.as_str())
        .with("num-queues", queues);
    if let Some(size) = disk.queue_size {
        device = device.with("queue-size", size.get());
    }
    if let Some(place) = boot_place {
        device = device.with("bootindex", place);
    }
    let device = device.behind_iommu(disk.iommu);
    [attached::socket(&name, socket), ("-device", device.words(bus))]
}

fn image(disk: &Disk, path: &str) -> Value {
    let mut file = json!({"driver": "file", "filename": path, "read-only": disk.read_only});
    let mut image = json!({"driver": disk.format.to_string()});
    if disk.direct {
        let cache = json!({"direct": true});
        file["cache"] = cache.clone();
        image["cache"] = cache;
    }
    image["file"] = file;
    if disk.format == DiskFormat::Qcow2 {
        // The image's header may name any file of the host as its backing file: it is not followed.
        image["backing"] = Value::Null;
    }
    image["read-only"] = json!(disk.read_only);
    image
}

/// QEMU counts by the second: a bucket that takes longer to fill may be emptied within one.
fn throttle_group(id: &str, limit: &RateLimit) -> Value {
    let mut limits = json!({});
    let mut set = |name: &str, bucket: &Option<TokenBucket>| {
        let Some(bucket) = bucket else { return };
        let rate = bucket.per_second();
        limits[format!("{name}-total")] = json!(rate);
        if bucket.size.get() > rate {
            limits[format!("{name}-total-max")] = json!(bucket.size.get());
        }
    };
    set("bps", &limit.bandwidth);
    set("iops", &limit.ops);
    json!({"qom-type": "throttle-group", "id": id, "limits": limits})
}
