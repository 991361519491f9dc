//! Disks and network cards.

use chv_domain::spec::{
    Disk, DiskFormat, DiskSerial, IfName, Nic, NicBackend, Offload, Offloads, QueueSize, RateLimit,
    RefillTime, TokenBucket, Tokens, Within,
};

use super::attached::{segment_from_wire, segment_to_wire};
use super::{given, path};
use crate::convert::error::{WireError, parse, parse_optional};
use crate::v1;

pub(crate) fn disk_to_wire(disk: &Disk) -> v1::Disk {
    let format = match disk.format {
        DiskFormat::Raw => v1::DiskFormat::Raw,
        DiskFormat::Qcow2 => v1::DiskFormat::Qcow2,
        DiskFormat::VhostUser => v1::DiskFormat::VhostUser,
    };
    v1::Disk {
        id: disk.id.to_string(),
        path: disk.path.to_string(),
        format: format.into(),
        read_only: disk.read_only,
        direct: disk.direct,
        queues: small(disk.queues),
        queue_size: disk.queue_size.map_or(0, QueueSize::get),
        serial: disk.serial.as_ref().map(ToString::to_string).unwrap_or_default(),
        rate_limit: disk.rate_limit.as_ref().map(rate_limit_to_wire),
        pci_segment: segment_to_wire(disk.pci_segment),
        iommu: disk.iommu,
    }
}

pub(super) fn disk_from_wire(disk: v1::Disk) -> Result<Disk, WireError> {
    let format = match disk.format() {
        v1::DiskFormat::Raw => DiskFormat::Raw,
        v1::DiskFormat::Qcow2 => DiskFormat::Qcow2,
        v1::DiskFormat::VhostUser => DiskFormat::VhostUser,
        v1::DiskFormat::Unspecified => {
            return Err(WireError::new("format", "must be said: raw, qcow2 or vhost-user"));
        }
    };
    let serial = Some(disk.serial).filter(|serial| !serial.is_empty());
    Ok(Disk {
        id: parse("id", &disk.id)?,
        path: path("path", disk.path)?,
        format,
        read_only: disk.read_only,
        direct: disk.direct,
        queues: given("queues", u64::from(disk.queues))?,
        queue_size: given("queue_size", disk.queue_size)?,
        serial: serial
            .map(DiskSerial::try_from)
            .transpose()
            .map_err(|error| WireError::new("serial", error))?,
        rate_limit: disk.rate_limit.map(rate_limit_from_wire).transpose()?,
        pci_segment: segment_from_wire(disk.pci_segment)?,
        iommu: disk.iommu,
    })
}

pub(crate) fn nic_to_wire(nic: &Nic) -> v1::Nic {
    let backend = match &nic.backend {
        NicBackend::User => v1::nic::Backend::User(v1::UserNetwork {}),
        NicBackend::Tap(name) => v1::nic::Backend::Tap(name.as_str().to_owned()),
        NicBackend::VhostUser(socket) => v1::nic::Backend::VhostUser(socket.to_string()),
        NicBackend::VhostUserServer => v1::nic::Backend::VhostUserServer(v1::VhostUserServer {}),
    };
    v1::Nic {
        id: nic.id.to_string(),
        backend: Some(backend),
        mac: nic.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        host_mac: nic.host_mac.map(|mac| mac.to_string()).unwrap_or_default(),
        mtu: small(nic.mtu),
        queues: small(nic.queues),
        queue_size: nic.queue_size.map_or(0, QueueSize::get),
        offloads: (nic.offloads != Offloads::default()).then(|| v1::Offloads {
            tso: nic.offloads.tso.is_on(),
            ufo: nic.offloads.ufo.is_on(),
            checksum: nic.offloads.checksum.is_on(),
        }),
        rate_limit: nic.rate_limit.as_ref().map(rate_limit_to_wire),
        pci_segment: segment_to_wire(nic.pci_segment),
        iommu: nic.iommu,
    }
}

pub(super) fn nic_from_wire(nic: v1::Nic) -> Result<Nic, WireError> {
    let backend = match nic.backend.ok_or_else(|| WireError::missing("backend"))? {
        v1::nic::Backend::User(v1::UserNetwork {}) => NicBackend::User,
        v1::nic::Backend::Tap(name) => {
            NicBackend::Tap(IfName::try_from(name).map_err(|error| WireError::new("tap", error))?)
        }
        v1::nic::Backend::VhostUser(socket) => NicBackend::VhostUser(path("vhost_user", socket)?),
        v1::nic::Backend::VhostUserServer(v1::VhostUserServer {}) => NicBackend::VhostUserServer,
    };
    let offloads = nic.offloads.map(|offloads| Offloads {
        tso: Offload::from(offloads.tso),
        ufo: Offload::from(offloads.ufo),
        checksum: Offload::from(offloads.checksum),
    });
    Ok(Nic {
        id: parse("id", &nic.id)?,
        backend,
        mac: parse_optional("mac", &nic.mac)?,
        host_mac: parse_optional("host_mac", &nic.host_mac)?,
        mtu: given("mtu", u64::from(nic.mtu))?,
        queues: given("queues", u64::from(nic.queues))?,
        queue_size: given("queue_size", nic.queue_size)?,
        offloads: offloads.unwrap_or_default(),
        rate_limit: nic.rate_limit.map(rate_limit_from_wire).transpose()?,
        pci_segment: segment_from_wire(nic.pci_segment)?,
        iommu: nic.iommu,
    })
}

fn rate_limit_to_wire(limit: &RateLimit) -> v1::RateLimit {
    let bucket = |bucket: &TokenBucket| v1::TokenBucket {
        size: bucket.size.get(),
        refill_ms: bucket.refill_ms.get(),
        one_time_burst: bucket.one_time_burst.map_or(0, Tokens::get),
    };
    v1::RateLimit {
        bandwidth: limit.bandwidth.as_ref().map(bucket),
        ops: limit.ops.as_ref().map(bucket),
    }
}

fn rate_limit_from_wire(limit: v1::RateLimit) -> Result<RateLimit, WireError> {
    let part = |name: &str, bucket: Option<v1::TokenBucket>| {
        let bucket = bucket.map(bucket_from_wire).transpose();
        bucket.map_err(|error: WireError| error.within(name).within("rate_limit"))
    };
    Ok(RateLimit {
        bandwidth: part("bandwidth", limit.bandwidth)?,
        ops: part("ops", limit.ops)?,
    })
}

fn bucket_from_wire(bucket: v1::TokenBucket) -> Result<TokenBucket, WireError> {
    Ok(TokenBucket {
        size: Tokens::try_from(bucket.size).map_err(|error| WireError::new("size", error))?,
        refill_ms: RefillTime::try_from(bucket.refill_ms)
            .map_err(|error| WireError::new("refill_ms", error))?,
        one_time_burst: given("one_time_burst", bucket.one_time_burst)?,
    })
}

/// A number that fits, where 0 stands for none.
pub(super) fn small<const LEAST: u64, const MOST: u64>(number: Option<Within<LEAST, MOST>>) -> u32 {
    const { assert!(MOST <= u32::MAX as u64) };
    number.map_or(0, |number| u32::try_from(number.get()).expect("its most fits"))
}
