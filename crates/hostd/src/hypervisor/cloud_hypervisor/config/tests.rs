//! The request for a machine, word for word.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::hypervisor::Making;
use crate::hypervisor::machine::{MachineFiles, Payload};
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
fn given_the_user_network_then_it_is_refused_with_a_way_out() {
    let spec = json!({
        "cpu": 1, "memory": "512MiB", "boot": {"kernel": "vmlinuz"}, "nics": [{"id": "lan", "backend": "user"}],
    });
    let error = config(&machine(spec, &[])).unwrap_err();
    assert!(matches!(&error, HypervisorError::Unsupported { feature, .. } if feature.contains("QEMU")));
}
