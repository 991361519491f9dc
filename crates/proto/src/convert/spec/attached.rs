//! What few VMs have: ports that lead elsewhere, directories and persistent memory.

use chv_domain::VmSpec;
use chv_domain::spec::{Console, PciSegment, Pmem, Port, QueueSize, Share};

use super::memory::amount;
use super::{given, path, path_to_wire};
use crate::convert::error::{WireError, parse};
use crate::v1;

/// A specification with these parts alone.
pub(crate) fn attached_to_wire(spec: &VmSpec) -> v1::VmSpec {
    v1::VmSpec {
        serial: (spec.serial != Port::default()).then(|| port_to_wire(&spec.serial)),
        console: (spec.console != Console::default()).then(|| port_to_wire(&spec.console.0)),
        panic_device: spec.panic_device,
        shares: spec.shares.iter().map(share_to_wire).collect(),
        pmem: spec.pmem.iter().map(pmem_to_wire).collect(),
        tpm: path_to_wire(&spec.tpm),
        ..v1::VmSpec::default()
    }
}

pub(super) fn port_from_wire(field: &str, port: Option<v1::Port>) -> Result<Option<Port>, WireError> {
    let Some(v1::Port { to, file }) = port else {
        return Ok(None);
    };
    let port = match to.as_str() {
        "log" => Port::Log,
        "off" => Port::Off,
        "null" => Port::Null,
        "socket" => Port::Socket,
        "pty" => Port::Pty,
        "tty" => Port::Tty,
        "file" => Port::File(path("file", file).map_err(|error| error.within(field))?),
        other => {
            let why = format!("{other:?} is none of log, off, null, socket, file, pty, tty");
            return Err(WireError::new("to", why).within(field));
        }
    };
    Ok(Some(port))
}

pub(super) fn share_from_wire(share: v1::Share) -> Result<Share, WireError> {
    Ok(Share {
        tag: parse("tag", &share.tag)?,
        socket: path("socket", share.socket)?,
        queue_size: given("queue_size", share.queue_size)?,
        pci_segment: segment_from_wire(share.pci_segment)?,
    })
}

pub(super) fn pmem_from_wire(pmem: v1::Pmem) -> Result<Pmem, WireError> {
    Ok(Pmem {
        id: parse("id", &pmem.id)?,
        path: path("path", pmem.path)?,
        size: amount(pmem.size_mib)?,
        discard_writes: pmem.discard_writes,
        pci_segment: segment_from_wire(pmem.pci_segment)?,
    })
}

/// The number of a PCI segment, where 0 is the first.
pub(super) fn segment_from_wire(segment: u32) -> Result<Option<PciSegment>, WireError> {
    given("pci_segment", u64::from(segment))
}

pub(super) fn segment_to_wire(segment: Option<PciSegment>) -> u32 {
    segment.map_or(0, |segment| u32::try_from(segment.get()).expect("at most 15"))
}

fn port_to_wire(port: &Port) -> v1::Port {
    let (to, file) = match port {
        Port::Log => ("log", None),
        Port::Off => ("off", None),
        Port::Null => ("null", None),
        Port::Socket => ("socket", None),
        Port::File(path) => ("file", Some(path)),
        Port::Pty => ("pty", None),
        Port::Tty => ("tty", None),
    };
    v1::Port {
        to: to.to_owned(),
        file: file.map(ToString::to_string).unwrap_or_default(),
    }
}

fn share_to_wire(share: &Share) -> v1::Share {
    v1::Share {
        tag: share.tag.to_string(),
        socket: share.socket.to_string(),
        queue_size: share.queue_size.map_or(0, QueueSize::get),
        pci_segment: segment_to_wire(share.pci_segment),
    }
}

fn pmem_to_wire(pmem: &Pmem) -> v1::Pmem {
    v1::Pmem {
        id: pmem.id.to_string(),
        path: pmem.path.to_string(),
        size_mib: pmem.size.mib(),
        discard_writes: pmem.discard_writes,
        pci_segment: segment_to_wire(pmem.pci_segment),
    }
}
