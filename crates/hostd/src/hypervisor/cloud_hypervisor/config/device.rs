//! Disks and network cards. Each has its spec's id, by which it is found again.

use std::path::Path;

use chv_domain::spec::{
    DeviceId, Disk, DiskFormat, MacAddress, Nic, NicBackend, PciSegment, QueueSize, Queues, RateLimit,
    TokenBucket,
};
use cloud_hypervisor_sdk::models::{
    DiskConfig, ImageType, NetConfig, RateLimiterConfig, TokenBucket as Bucket,
};

use super::{lacks, text};
use crate::hypervisor::error::HypervisorError;

/// A disk with its image.
pub(in crate::hypervisor::cloud_hypervisor) fn disk(
    disk: &Disk,
    path: &Path,
) -> Result<DiskConfig, HypervisorError> {
    if disk.format == DiskFormat::VhostUser {
        return Ok(DiskConfig {
            id: Some(disk_name(&disk.id)),
            vhost_user: Some(true),
            vhost_socket: Some(text("socket", path)?),
            num_queues: disk.queues.map(queues),
            queue_size: disk.queue_size.map(queue_size),
            pci_segment: disk.pci_segment.map(segment),
            iommu: disk.iommu.then_some(true),
            ..DiskConfig::new()
        });
    }
    Ok(DiskConfig {
        id: Some(disk_name(&disk.id)),
        path: Some(text("disk", path)?),
        readonly: Some(disk.read_only),
        direct: disk.direct.then_some(true),
        num_queues: disk.queues.map(queues),
        queue_size: disk.queue_size.map(queue_size),
        serial: Some(disk.serial().to_owned()),
        rate_limiter_config: disk.rate_limit.as_ref().map(rate_limit),
        // Said always: what is guessed from an image's first bytes, a guest can forge.
        image_type: Some(match disk.format {
            DiskFormat::Qcow2 => ImageType::Qcow2,
            DiskFormat::Raw | DiskFormat::VhostUser => ImageType::Raw,
        }),
        pci_segment: disk.pci_segment.map(segment),
        iommu: disk.iommu.then_some(true),
        backing_files: Some(false),
        ..DiskConfig::new()
    })
}

/// A network card.
pub(in crate::hypervisor::cloud_hypervisor) fn nic(
    nic: &Nic,
    mac: MacAddress,
    switch: Option<&Path>,
) -> Result<NetConfig, HypervisorError> {
    let (tap, socket, mode) = match &nic.backend {
        NicBackend::User => return Err(lacks("the user network; use a TAP device, or QEMU".to_owned())),
        NicBackend::Tap(ifname) => (Some(ifname.as_str().to_owned()), None, None),
        NicBackend::VhostUserServer => {
            let own = format!("{}.sock", nic_name(&nic.id));
            (None, Some(own), Some("Server".to_owned()))
        }
        NicBackend::VhostUser(_) => {
            let socket = switch.ok_or_else(|| lacks("a switch for a card that comes later".to_owned()))?;
            (None, Some(text("socket", socket)?), Some("Client".to_owned()))
        }
    };
    let off = |offload: chv_domain::spec::Offload| (!offload.is_on()).then_some(false);
    Ok(NetConfig {
        id: Some(nic_name(&nic.id)),
        tap,
        vhost_user: nic.is_vhost_user().then_some(true),
        vhost_socket: socket,
        vhost_mode: mode,
        pci_segment: nic.pci_segment.map(segment),
        iommu: nic.iommu.then_some(true),
        mac: Some(mac.to_string()),
        host_mac: nic.host_mac.map(|mac| mac.to_string()),
        mtu: nic
            .mtu
            .map(|mtu| i32::try_from(mtu.get()).expect("at most 65521")),
        // It counts queues, of which a pair has two.
        num_queues: nic.queues.map(|pairs| 2 * queues(pairs)),
        queue_size: nic.queue_size.map(queue_size),
        offload_tso: off(nic.offloads.tso),
        offload_ufo: off(nic.offloads.ufo),
        offload_csum: off(nic.offloads.checksum),
        rate_limiter_config: nic.rate_limit.as_ref().map(rate_limit),
        ..NetConfig::new()
    })
}

/// What cloud-hypervisor calls a disk.
pub(in crate::hypervisor::cloud_hypervisor) fn disk_name(id: &DeviceId) -> String {
    format!("disk-{id}")
}

/// What cloud-hypervisor calls a network card.
pub(in crate::hypervisor::cloud_hypervisor) fn nic_name(id: &DeviceId) -> String {
    format!("nic-{id}")
}

pub(super) fn segment(segment: PciSegment) -> i16 {
    i16::try_from(segment.get()).expect("at most 15")
}

fn queues(queues: Queues) -> i32 {
    i32::try_from(queues.get()).expect("at most 256")
}

pub(super) fn queue_size(size: QueueSize) -> i32 {
    i32::try_from(size.get()).expect("at most 32768")
}

fn rate_limit(limit: &RateLimit) -> RateLimiterConfig {
    RateLimiterConfig {
        bandwidth: limit.bandwidth.as_ref().map(bucket),
        ops: limit.ops.as_ref().map(bucket),
    }
}

fn bucket(bucket: &TokenBucket) -> Bucket {
    let tokens = |tokens: u64| i64::try_from(tokens).expect("at most what an i64 holds");
    Bucket {
        one_time_burst: bucket.one_time_burst.map(|burst| tokens(burst.get())),
        ..Bucket::new(tokens(bucket.size.get()), tokens(bucket.refill_ms.get()))
    }
}
