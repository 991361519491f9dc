//! QEMU's options for what else a machine reaches of its host: shares, persistent memory, a TPM.

use std::path::{Path, PathBuf};

use chv_domain::VmSpec;
use serde_json::json;

use super::quoted::quoted;

/// The socket of another process, called `id`.
pub(super) fn socket(id: &str, path: &Path) -> (&'static str, String) {
    ("-chardev", format!("socket,id={id},path={}", quoted(path)))
}

/// The directories that the guest mounts, each with the socket of its virtiofsd.
pub(super) fn shares(spec: &VmSpec, sockets: &[PathBuf]) -> Vec<(&'static str, String)> {
    let shares = spec.shares.iter().zip(sockets).enumerate();
    shares
        .flat_map(|(place, (share, path))| {
            let id = format!("share-{place}");
            let mut device = format!("vhost-user-fs-pci,id={id},chardev={id},tag={}", share.tag);
            if let Some(size) = share.queue_size {
                device.push_str(&format!(",queue-size={}", size.get()));
            }
            [socket(&id, path), ("-device", device)]
        })
        .collect()
}

/// Persistent memory, each with its file.
pub(super) fn pmem(spec: &VmSpec, files: &[PathBuf]) -> Vec<(&'static str, String)> {
    let pmem = spec.pmem.iter().zip(files);
    pmem.flat_map(|(pmem, path)| {
        let id = format!("pmem-{}", pmem.id);
        let file = json!({
            "qom-type": "memory-backend-file", "id": id, "mem-path": path.to_string_lossy(),
            "size": pmem.size.bytes(), "share": !pmem.discard_writes,
        });
        let device = format!("virtio-pmem-pci,id={id},memdev={id}");
        [("-object", file.to_string()), ("-device", device)]
    })
    .collect()
}

/// A TPM, whose emulator listens on this socket.
pub(super) fn tpm(path: &Path) -> Vec<(&'static str, String)> {
    vec![
        socket("tpm", path),
        ("-tpmdev", "emulator,id=tpm,chardev=tpm".to_owned()),
        ("-device", "tpm-crb,tpmdev=tpm".to_owned()),
    ]
}
