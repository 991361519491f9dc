//! A machine as Firecracker's API takes it: one request for each part. Pure. Paths of this daemon's choosing are relative
//! to the run directory, where Firecracker is started.

use std::path::Path;

use chv_domain::HypervisorKind;
use chv_domain::spec::{Disk, DiskFormat, MacAddress, Nic, NicBackend, RateLimit, TokenBucket};
use serde_json::{Value, json};

use super::api::Ask;
use crate::hypervisor::error::HypervisorError;
use crate::hypervisor::machine::{Machine, Payload};
use crate::hypervisor::run_dir::VSOCK;

const KIND: HypervisorKind = HypervisorKind::Firecracker;

/// The first context id that a guest may have. Each guest's is behind a socket of its own, so all have the same.
const GUEST_CID: u32 = 3;

/// The requests that make `machine`, in their order. It does not run yet.
pub(super) fn requests(machine: &Machine) -> Result<Vec<Ask>, HypervisorError> {
    let (spec, files) = (&machine.spec, &machine.files);
    let Payload::Kernel { kernel, initramfs } = &files.payload else {
        return Err(lacks("firmware; give a kernel".to_owned()));
    };
    let mut boot = json!({
        "kernel_image_path": text("kernel", kernel)?,
        "boot_args": machine.kernel_cmdline(KIND)?,
    });
    if let Some(initramfs) = initramfs {
        boot["initrd_path"] = text("initramfs", initramfs)?.into();
    }
    let machine_config = json!({
        "vcpu_count": spec.cpu.vcpus.get(),
        "mem_size_mib": spec.memory.size.mib(),
    });
    let mut asks = vec![
        Ask::put("/machine-config", machine_config),
        Ask::put("/boot-source", boot),
    ];
    for (index, (disk, path)) in machine.disks().enumerate() {
        asks.push(disk_ask(index, &disk, path)?);
    }
    for (index, nic) in spec.nics.iter().enumerate() {
        asks.push(nic_ask(index, nic, machine.mac(nic))?);
    }
    asks.push(Ask::put(
        "/vsock",
        json!({"guest_cid": GUEST_CID, "uds_path": VSOCK}),
    ));
    asks.push(Ask::put("/entropy", json!({})));
    Ok(asks)
}

/// Starts the machine.
pub(super) fn start() -> Ask {
    Ask::put("/actions", action("InstanceStart"))
}

/// Presses Ctrl, Alt and Del, which a guest takes for a wish that it ends.
pub(super) fn press() -> Ask {
    Ask::put("/actions", action("SendCtrlAltDel"))
}

/// Holds its vCPUs.
pub(super) fn pause() -> Ask {
    Ask::patch("/vm", json!({"state": "Paused"}))
}

/// Lets its vCPUs run on.
pub(super) fn resume() -> Ask {
    Ask::patch("/vm", json!({"state": "Resumed"}))
}

fn action(kind: &str) -> Value {
    json!({"action_type": kind})
}

/// Its ids may have no `-`, which a spec's may: a device is named by its place.
fn disk_ask(index: usize, disk: &Disk, path: &Path) -> Result<Ask, HypervisorError> {
    if disk.format != DiskFormat::Raw {
        return Err(lacks("a disk that is not raw".to_owned()));
    }
    let id = format!("disk{index}");
    let mut asked = json!({
        "drive_id": id,
        "path_on_host": text("disk", path)?,
        "is_root_device": false,
        "is_read_only": disk.read_only,
        // By itself, a guest's flush does nothing.
        "cache_type": "Writeback",
    });
    if let Some(limit) = &disk.rate_limit {
        asked["rate_limiter"] = rate_limit(limit);
    }
    Ok(Ask::put(format!("/drives/{id}"), asked))
}

fn nic_ask(index: usize, nic: &Nic, mac: MacAddress) -> Result<Ask, HypervisorError> {
    let NicBackend::Tap(ifname) = &nic.backend else {
        return Err(lacks("the user network; use a TAP device, or QEMU".to_owned()));
    };
    let id = format!("nic{index}");
    let mut asked = json!({
        "iface_id": id,
        "host_dev_name": ifname.as_str(),
        "guest_mac": mac.to_string(),
    });
    if let Some(limit) = &nic.rate_limit {
        // Each way by itself, as with cloud-hypervisor.
        asked["rx_rate_limiter"] = rate_limit(limit);
        asked["tx_rate_limiter"] = rate_limit(limit);
    }
    Ok(Ask::put(format!("/network-interfaces/{id}"), asked))
}

fn rate_limit(limit: &RateLimit) -> Value {
    let mut asked = json!({});
    for (name, limit) in [("bandwidth", &limit.bandwidth), ("ops", &limit.ops)] {
        if let Some(limit) = limit {
            asked[name] = bucket(limit);
        }
    }
    asked
}

fn bucket(bucket: &TokenBucket) -> Value {
    let mut asked = json!({"size": bucket.size.get(), "refill_time": bucket.refill_ms.get()});
    if let Some(burst) = bucket.one_time_burst {
        asked["one_time_burst"] = burst.get().into();
    }
    asked
}

fn text<'a>(what: &str, path: &'a Path) -> Result<&'a str, HypervisorError> {
    path.to_str()
        .ok_or_else(|| lacks(format!("a {what} whose path is not UTF-8: {path:?}")))
}

pub(super) fn lacks(feature: String) -> HypervisorError {
    HypervisorError::Unsupported { kind: KIND, feature }
}
