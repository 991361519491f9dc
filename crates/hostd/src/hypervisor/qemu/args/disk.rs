//! QEMU's options for a disk: its limit, its image as nodes on top of each other, and the device that the guest sees.

use std::path::Path;

use chv_domain::HypervisorKind;
use chv_domain::spec::{Disk, DiskFormat, RateLimit, TokenBucket};
use serde_json::{Value, json};

use crate::hypervisor::error::HypervisorError;

/// The options for `disk`, whose image is the file `path`.
pub(super) fn options(
    disk: &Disk,
    path: &Path,
    kind: HypervisorKind,
) -> Result<Vec<(&'static str, String)>, HypervisorError> {
    let path = path.to_str().ok_or_else(|| HypervisorError::Unsupported {
        kind,
        feature: format!("a disk whose path is not UTF-8: {path:?}"),
    })?;
    let mut options = Vec::new();
    let mut node = image(disk, path);
    if let Some(limit) = &disk.rate_limit {
        let group = format!("limit-{}", disk.id);
        options.push(("-object", throttle_group(&group, limit).to_string()));
        node = json!({"driver": "throttle", "throttle-group": group, "file": node});
    }
    node["node-name"] = json!(format!("disk-{}", disk.id));
    node["read-only"] = json!(disk.read_only);
    options.push(("-blockdev", node.to_string()));
    // QEMU would give it a queue for each vCPU.
    let queues = disk.queues.map_or(1, |queues| queues.get());
    let mut device = format!(
        "virtio-blk-pci,id=disk-{0},drive=disk-{0},serial={1},num-queues={queues}",
        disk.id,
        disk.serial()
    );
    if let Some(size) = disk.queue_size {
        device.push_str(&format!(",queue-size={}", size.get()));
    }
    options.push(("-device", device));
    Ok(options)
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
