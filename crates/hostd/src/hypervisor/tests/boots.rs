//! What only QEMU boots here, booted: firmware, and its small machine.

use std::fs::Permissions;
use std::io::{Cursor, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command};

use fatfs::{FileSystem, FormatVolumeOptions, FsOptions, format_volume};
use serde_json::json;

use super::devices::seen_from_inside;
use super::{Leash, guest_file, machine, ready, soon, spec};
use crate::hypervisor::qemu::Qemu;
use crate::hypervisor::{
    AgentChannel, Attached, ConsolePump, Exit, Hypervisor, HypervisorError, Part, Payload, Remedy,
};

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

/// Ends another process when a test is over.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Serves `image` as a disk by vhost-user, on `socket`.
async fn serve_disk(image: &Path, socket: &Path) -> Ended {
    let file = format!("driver=file,node-name=image,filename={}", image.display());
    let export = format!(
        "type=vhost-user-blk,id=export,node-name=image,writable=on,addr.type=unix,addr.path={}",
        socket.display()
    );
    let served = Command::new("qemu-storage-daemon")
        .args(["--blockdev", &file, "--export", &export])
        .spawn();
    let served = Ended(served.expect("Debian's qemu-system-common has it"));
    soon("the disk is served", async {
        while !socket.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    served
}

/// The processors that each thread of a process may run on.
fn allowed(pid: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of = |task: std::io::Result<std::fs::DirEntry>| {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        line.unwrap().trim().to_owned()
    };
    tasks.map(of).collect()
}

mod needs_guest {
    use super::*;

    #[tokio::test]
    async fn given_what_few_machines_have_then_the_guest_finds_it() {
        let qemu = Qemu::tcg().await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut machine = machine(dir.path());
        let [image, cache, log, socket] =
            ["image", "cache", "log", "socket"].map(|name| dir.path().join(name));
        for (file, size) in [(&image, 3 << 20), (&cache, 2 << 20), (&log, 0)] {
            std::fs::File::create(file).unwrap().set_len(size).unwrap();
        }
        let _served = serve_disk(&image, &socket).await;
        machine.files.disks = vec![socket];
        machine.files.attached = Attached {
            console: Some(log),
            pmem: vec![cache],
            ..Attached::default()
        };
        machine.spec = spec(json!({
            "cpu": {"vcpus": 2, "affinity": [{"vcpu": 1, "hostCpus": [0]}]},
            "memory": {"size": "256MiB", "shared": true, "zones": [
                {"size": "128MiB", "cpus": [0]}, {"size": "128MiB", "cpus": [1]},
            ]},
            "boot": {"kernel": "k", "cmdline": "console=hvc0 console=ttyS0"},
            "disks": [{"id": "served", "path": "s", "format": "vhost-user"}],
            "nics": [{"id": "lan", "backend": "user", "iommu": true}],
            "console": {"file": "log"},
            "panicDevice": true,
            "pmem": [{"id": "cache", "path": "c", "size": "2MiB"}],
        }));
        let instance = qemu.launch(&machine).await.unwrap();
        let _leash = Leash(instance.clone());
        let pinned = allowed(instance.process.pid)
            .into_iter()
            .filter(|cpus| cpus == "0");
        assert_eq!(pinned.count(), 1);
        let mut channel = AgentChannel::open(&instance).await.unwrap();
        ready(&mut channel).await;
        let seen = soon("what the guest finds", seen_from_inside(&instance)).await;
        assert_eq!(seen["disks"][0]["bytes"], 3 << 20, "{seen}");
        let virtio = seen["virtio"].as_array().unwrap();
        for (device, number) in [("IOMMU", 23), ("pmem", 27)] {
            assert!(virtio.contains(&number.into()), "no {device} in {seen}");
        }
        let console = std::fs::read(instance.run_dir.console_log()).unwrap();
        let console = String::from_utf8_lossy(&console);
        // The second zone's processor, and the device for panics, as Linux names them.
        for said in ["SRAT: PXM 1 -> APIC 0x01 -> Node 1", "[1b36:0011]"] {
            assert!(console.contains(said), "no {said} in {console}");
        }
        qemu.kill(&instance).await.unwrap();
    }

    #[tokio::test]
    async fn given_a_socket_that_is_not_there_or_is_none_then_nothing_is_launched() {
        let qemu = Qemu::tcg().await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        for path in [dir.path().join("absent"), file] {
            let mut machine = machine(dir.path());
            machine.files.attached.tpm = Some(path.clone());
            machine.spec = spec(json!({"tpm": "t"}));
            let error = qemu.launch(&machine).await.unwrap_err();
            assert!(
                matches!(&error, HypervisorError::Unreadable { part: Part::Socket, path: at, .. } if *at == path),
                "{error}"
            );
            assert_eq!(error.remedy(), Remedy::WaitForHost);
        }
        let mut machine = machine(dir.path());
        machine.spec = spec(json!({"cpu": {"vcpus": 1, "limit": 50}}));
        let error = qemu.launch(&machine).await.unwrap_err();
        assert!(matches!(error, HypervisorError::HostLacks { .. }), "{error}");
    }

    #[tokio::test]
    async fn given_no_serial_port_then_the_machine_runs_without_a_console() {
        let qemu = Qemu::tcg().await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut machine = machine(dir.path());
        machine.spec = spec(json!({"serial": "off"}));
        let instance = qemu.launch(&machine).await.unwrap();
        let _leash = Leash(instance.clone());
        let mut channel = AgentChannel::open(&instance).await.unwrap();
        ready(&mut channel).await;
        let error = ConsolePump::open(&instance).await.map(drop).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        assert!(!instance.run_dir.console_log().exists());
        qemu.kill(&instance).await.unwrap();
    }

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
