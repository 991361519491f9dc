//! What only QEMU boots here, booted: firmware, and its small machine.

use std::fs::Permissions;
use std::io::{Cursor, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use fatfs::{FileSystem, FormatVolumeOptions, FsOptions, format_volume};
use serde_json::json;

use super::devices::seen_from_inside;
use super::{Leash, guest_file, machine, ready, soon, spec};
use crate::hypervisor::qemu::Qemu;
use crate::hypervisor::{AgentChannel, Exit, Hypervisor, Payload};

/// Debian's, of the package ovmf.
const FIRMWARE: &str = "/usr/share/ovmf/OVMF.fd";

/// A disk as a UEFI finds one: a FAT file system, with what its shell runs by itself.
fn system_disk(path: &Path) {
    const SIZE: usize = 32 << 20;
    let mut disk = Cursor::new(vec![0; SIZE]);
    format_volume(&mut disk, FormatVolumeOptions::new()).unwrap();
    disk.set_position(0);
    let volume = FileSystem::new(&mut disk, FsOptions::new()).unwrap();
    let script = "fs0:\r\nvmlinuz.efi initrd=\\initramfs.cpio console=ttyS0 quiet booted=from-disk\r\n";
    for (name, content) in [
        ("vmlinuz.efi", std::fs::read(guest_file("vmlinuz")).unwrap()),
        (
            "initramfs.cpio",
            std::fs::read(guest_file("initramfs.cpio")).unwrap(),
        ),
        ("startup.nsh", script.as_bytes().to_vec()),
    ] {
        let mut file = volume.root_dir().create_file(name).unwrap();
        file.write_all(&content).unwrap();
    }
    volume.unmount().unwrap();
    std::fs::write(path, disk.into_inner()).unwrap();
}

mod needs_firmware {
    use super::*;

    #[tokio::test]
    async fn given_firmware_then_it_looks_at_the_disks_in_the_order_asked_for_and_boots_from_one() {
        let qemu = Qemu::tcg().await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut machine = machine(dir.path());
        let [system, empty] = ["system.raw", "empty.raw"].map(|name| dir.path().join(name));
        system_disk(&system);
        std::fs::File::create(&empty).unwrap().set_len(1 << 20).unwrap();
        machine.files.disks = vec![system, empty];
        machine.files.payload = Payload::Firmware(FIRMWARE.into());
        machine.spec = spec(json!({
            "boot": {"firmware": FIRMWARE, "order": ["empty", "system"]},
            "disks": [
                {"id": "system", "path": "s", "format": "raw", "readOnly": true},
                {"id": "empty", "path": "e", "format": "raw"},
            ],
        }));
        let instance = qemu.launch(&machine).await.unwrap();
        let _leash = Leash(instance.clone());
        let mut channel = AgentChannel::open(&instance).await.unwrap();
        ready(&mut channel).await;
        let seen = soon("what the guest finds", seen_from_inside(&instance)).await;
        let cmdline = seen["cmdline"].as_str().unwrap();
        assert!(cmdline.ends_with("booted=from-disk"), "{cmdline}");
        // The disks have ports one after the other; OVMF tells where it looks.
        let console = std::fs::read(instance.run_dir.console_log()).unwrap();
        let console = String::from_utf8_lossy(&console);
        let looked: Vec<_> = console
            .lines()
            .filter(|line| line.contains("BdsDxe: failed to load"))
            .filter_map(|line| line.split_once("PciRoot(0x0)/Pci(")?.1.split_once(')'))
            .map(|(port, _)| port)
            .collect();
        let [empty, system] = looked[..] else {
            panic!("{looked:?} in {console}");
        };
        assert!(empty > system, "{looked:?}");
        qemu.kill(&instance).await.unwrap();
    }
}

mod needs_guest {
    use super::*;

    #[tokio::test]
    async fn given_a_microvm_then_it_has_its_devices_and_a_power_button() {
        let dir = tempfile::tempdir().unwrap();
        // Emulated, it would not know how fast time goes: so here time goes by instructions.
        let qemu = Qemu::tcg().await.unwrap().binary().path.clone();
        let program = dir.path().join("qemu");
        let script = format!("#!/bin/sh\nexec {} \"$@\" -icount shift=3\n", qemu.display());
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        let qemu = Qemu::tcg_at(program).await.unwrap();
        let mut machine = machine(dir.path());
        let disk = dir.path().join("disk.raw");
        std::fs::File::create(&disk).unwrap().set_len(1 << 20).unwrap();
        machine.files.disks = vec![disk];
        machine.spec = spec(json!({
            "machine": "microvm",
            "memory": {"size": "256MiB", "shared": true, "balloon": {}},
            "disks": [{"id": "data", "path": "d", "format": "raw"}],
            "nics": [{"id": "lan", "backend": "user"}],
            "watchdog": true,
        }));
        let instance = qemu.launch(&machine).await.unwrap();
        let _leash = Leash(instance.clone());
        let mut channel = AgentChannel::open(&instance).await.unwrap();
        ready(&mut channel).await;
        let seen = soon("what the guest finds", seen_from_inside(&instance)).await;
        assert_eq!(seen["disks"][0]["serial"], "data", "{seen}");
        assert_eq!(seen["nics"].as_array().unwrap().len(), 1, "{seen}");
        assert!(seen["virtio"].as_array().unwrap().contains(&5.into()), "{seen}");
        soon("gone after the power button", async {
            qemu.press_power_button(&instance).await.unwrap();
            assert_eq!(qemu.exited(&instance).await.unwrap(), Exit::Code(0));
        })
        .await;
    }
}
