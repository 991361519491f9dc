//! The request for a machine, word for word.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::hypervisor::Making;
use crate::hypervisor::machine::{Attached, MachineFiles, Payload};
use crate::hypervisor::run_dir::RunDir;

fn machine(spec: serde_json::Value, disks: &[&str]) -> Machine {
    Machine {
        vm: "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap(),
        run_dir: RunDir::new("/run/x").unwrap(),
        spec: Arc::new(serde_json::from_value(spec).unwrap()),
        files: MachineFiles {
            payload: Payload::Kernel {
                kernel: "/images/vmlinuz".into(),
                initramfs: Some("/images/initramfs.cpio".into()),
            },
            disks: disks.iter().map(Into::into).collect(),
            seed: None,
            attached: Attached::default(),
        },
        wall: Default::default(),
        making: Making::default(),
    }
}

fn request(machine: &Machine) -> serde_json::Value {
    serde_json::to_value(config(machine).unwrap()).unwrap()
}

#[test]
fn given_the_smallest_machine_then_the_request_is_exactly_this() {
    let spec = json!({"cpu": 2, "memory": "512MiB", "boot": {"kernel": "vmlinuz", "cmdline": "quiet"}});
    assert_eq!(
        request(&machine(spec, &[])),
        json!({
            "cpus": {"boot_vcpus": 2, "max_vcpus": 2},
            "memory": {"size": 536_870_912},
            "payload": {
                "kernel": "/images/vmlinuz",
                "initramfs": "/images/initramfs.cpio",
                "cmdline": "console=ttyS0 quiet",
            },
            "rng": {"src": "/dev/urandom"},
            "serial": {"mode": "Socket", "socket": "console.sock"},
            "console": {"mode": "Off"},
            "vsock": {"cid": 3, "socket": "vsock"},
        })
    );
}

#[test]
fn given_a_machine_with_everything_then_nothing_of_it_is_left_out() {
    let spec = json!({
        "cpu": {
            "vcpus": 2, "max": 4, "nested": false, "hyperv": true, "features": ["+amx"],
            "topology": {"threadsPerCore": 1, "coresPerDie": 2, "diesPerPackage": 1, "packages": 2},
            "affinity": [{"vcpu": 1, "hostCpus": [3, 4]}],
        },
        "memory": {
            "size": "1GiB", "hotplug": {"size": "2GiB", "method": "virtio-mem"}, "hugepages": "2MiB",
            "shared": true, "prefault": true, "transparentHugepages": false, "balloon": {"deflateOnOom": true},
        },
        "boot": {"kernel": "vmlinuz"},
        "disks": [
            {"id": "root", "path": "d.qcow2", "format": "qcow2", "readOnly": true},
            {"id": "data", "path": "d.raw", "format": "raw", "direct": true, "queues": 2, "queueSize": 64,
             "serial": "S-1", "rateLimit": {
                "bandwidth": {"size": 1_000_000, "refillMs": 100, "oneTimeBurst": 5},
                "ops": {"size": 10, "refillMs": 1000},
             }},
        ],
        "nics": [{
            "id": "lan", "backend": {"tap": "tap0"}, "mac": "52:54:00:12:34:56", "hostMac": "52:54:00:12:34:58",
            "mtu": 9000, "queues": 2, "queueSize": 512, "offloads": {"tso": false, "ufo": false, "checksum": false},
        }],
        "rng": "hwrng",
        "watchdog": true,
    });
    let request = request(&machine(spec, &["/images/d.qcow2", "/images/d.raw"]));
    for (part, expected) in [
        (
            "cpus",
            json!({
                "boot_vcpus": 2, "max_vcpus": 4, "nested": false, "kvm_hyperv": true, "features": {"amx": true},
                "topology": {"threads_per_core": 1, "cores_per_die": 2, "dies_per_package": 1, "packages": 2},
                "affinity": [{"vcpu": 1, "host_cpus": [3, 4]}],
            }),
        ),
        (
            "memory",
            json!({
                "size": 1_073_741_824, "hotplug_size": 2_147_483_648_u64, "hotplug_method": "VirtioMem",
                "hugepages": true, "hugepage_size": 2_097_152, "shared": true, "prefault": true, "thp": false,
            }),
        ),
        (
            "balloon",
            json!({"size": 0, "deflate_on_oom": true, "free_page_reporting": false}),
        ),
        (
            "disks",
            json!([
                {"id": "disk-root", "path": "/images/d.qcow2", "readonly": true, "image_type": "Qcow2",
                 "backing_files": false, "serial": "root"},
                {"id": "disk-data", "path": "/images/d.raw", "readonly": false, "image_type": "Raw",
                 "backing_files": false, "serial": "S-1", "direct": true, "num_queues": 2, "queue_size": 64,
                 "rate_limiter_config": {
                    "bandwidth": {"size": 1_000_000, "refill_time": 100, "one_time_burst": 5},
                    "ops": {"size": 10, "refill_time": 1000},
                 }},
            ]),
        ),
        (
            "net",
            json!([{
                "id": "nic-lan", "tap": "tap0", "mac": "52:54:00:12:34:56", "host_mac": "52:54:00:12:34:58",
                "mtu": 9000, "num_queues": 4, "queue_size": 512,
                "offload_tso": false, "offload_ufo": false, "offload_csum": false,
            }]),
        ),
        ("rng", json!({"src": "/dev/hwrng"})),
        ("watchdog", json!(true)),
    ] {
        assert_eq!(request[part], expected, "{part}");
    }
}

#[test]
fn given_firmware_then_it_is_the_payload_alone() {
    let spec = json!({"cpu": 1, "memory": "512MiB", "boot": {"firmware": "CLOUDHV.fd"}});
    let mut machine = machine(spec, &[]);
    machine.files.payload = Payload::Firmware("/images/CLOUDHV.fd".into());
    assert_eq!(
        request(&machine)["payload"],
        json!({"firmware": "/images/CLOUDHV.fd"})
    );
}

#[test]
fn given_what_few_machines_have_then_it_is_in_the_request() {
    let spec = json!({
        "cpu": 2,
        "memory": {"size": "1GiB", "shared": true, "zones": [
            {"size": "512MiB", "cpus": [1], "hostNode": 3}, {"size": "512MiB", "cpus": [0]},
        ]},
        "boot": {"kernel": "k"},
        "disks": [{"id": "blk", "path": "b", "format": "vhost-user", "queues": 2, "pciSegment": 1, "iommu": true}],
        "nics": [
            {"id": "a", "backend": {"vhostUser": "s"}, "mac": "52:54:00:12:34:56", "iommu": true, "pciSegment": 3},
            {"id": "b", "backend": "vhostUserServer", "mac": "52:54:00:12:34:58"},
        ],
        "serial": {"file": "l"}, "console": "null", "panicDevice": true,
        "shares": [{"tag": "home", "socket": "f"}],
        "pmem": [{"id": "cache", "path": "p", "size": "64MiB", "discardWrites": true}],
        "tpm": "t",
    });
    let mut machine = machine(spec, &["/run/blk.sock"]);
    machine.files.attached = Attached {
        serial: Some("/logs/serial".into()),
        switches: vec![Some("/run/net.sock".into()), None],
        shares: vec!["/run/fs.sock".into()],
        pmem: vec!["/cache".into()],
        tpm: Some("/run/tpm.sock".into()),
        ..Attached::default()
    };
    let request = request(&machine);
    for (part, expected) in [
        (
            "memory",
            json!({"size": 0, "zones": [
                {"id": "zone-0", "size": 536_870_912, "shared": true, "host_numa_node": 3},
                {"id": "zone-1", "size": 536_870_912, "shared": true},
            ]}),
        ),
        (
            "numa",
            json!([
                {"guest_numa_id": 0, "cpus": [1], "memory_zones": ["zone-0"]},
                {"guest_numa_id": 1, "cpus": [0], "memory_zones": ["zone-1"]},
            ]),
        ),
        (
            "disks",
            json!([{"id": "disk-blk", "vhost_user": true, "vhost_socket": "/run/blk.sock", "num_queues": 2,
                    "pci_segment": 1, "iommu": true}]),
        ),
        (
            "net",
            json!([
                {"id": "nic-a", "mac": "52:54:00:12:34:56", "vhost_user": true, "vhost_socket": "/run/net.sock",
                 "vhost_mode": "Client", "iommu": true, "pci_segment": 3},
                {"id": "nic-b", "mac": "52:54:00:12:34:58", "vhost_user": true, "vhost_socket": "nic-b.sock",
                 "vhost_mode": "Server"},
            ]),
        ),
        ("serial", json!({"mode": "File", "file": "/logs/serial"})),
        ("console", json!({"mode": "Null"})),
        ("pvpanic", json!(true)),
        (
            "fs",
            json!([{"tag": "home", "socket": "/run/fs.sock", "num_queues": 1, "queue_size": 1024}]),
        ),
        (
            "pmem",
            json!([{"id": "pmem-cache", "file": "/cache", "size": 67_108_864, "discard_writes": true}]),
        ),
        ("tpm", json!({"socket": "/run/tpm.sock"})),
        ("platform", json!({"num_pci_segments": 4})),
    ] {
        assert_eq!(request[part], expected, "{part}");
    }
}

#[test]
fn given_the_user_network_then_it_is_refused_with_a_way_out() {
    let spec = json!({
        "cpu": 1, "memory": "512MiB", "boot": {"kernel": "vmlinuz"}, "nics": [{"id": "lan", "backend": "user"}],
    });
    let error = config(&machine(spec, &[])).unwrap_err();
    assert!(matches!(&error, HypervisorError::Unsupported { feature, .. } if feature.contains("QEMU")));
}
