//! The command line for a machine, word for word.

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
                initramfs: None,
            },
            disks: disks.iter().map(Into::into).collect(),
            seed: None,
            attached: Attached::default(),
        },
        wall: Default::default(),
        making: Making::default(),
    }
}

/// A small machine with these fields beside.
fn with(more: serde_json::Value, disks: &[&str]) -> Machine {
    let mut spec =
        json!({"cpu": 2, "memory": "512MiB", "boot": {"kernel": "vmlinuz", "cmdline": "quiet panic=-1"}});
    let fields = spec.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    machine(spec, disks)
}

/// The words of each option in a line of its own.
fn lines(machine: &Machine, accelerator: Accelerator) -> String {
    let words = args(machine, accelerator, true, 7).unwrap();
    let words: Vec<_> = words.iter().map(|word| word.to_str().unwrap()).collect();
    words
        .join("\n")
        .replace("\n-", "\n\u{1}-")
        .replace('\n', " ")
        .replace(" \u{1}", "\n")
}

fn has(lines: &str, expected: &str) {
    assert!(lines.contains(expected), "{expected}\nis not in\n{lines}");
}

#[test]
fn given_the_smallest_machine_then_the_command_line_is_exactly_this() {
    assert_eq!(
        lines(&with(json!({}), &[]), Accelerator::Tcg),
        "-name chv-01ARZ3NDEKTSV4RRFFQ69G5FAV-qemu-tcg
-machine q35,usb=off,vmport=off,sata=off,smbus=off,mem-merge=off
-accel tcg
-cpu max
-smp 2
-m 512M
-kernel /images/vmlinuz
-append console=ttyS0 quiet panic=-1
-chardev socket,id=qmp,fd=7,server=on,wait=off
-mon chardev=qmp,mode=control
-chardev socket,id=console,path=console.sock,server=on,wait=off,logfile=console.log,logappend=on
-serial chardev:console
-chardev socket,id=agent,path=agent.sock,server=on,wait=off
-device virtio-serial-pci,id=ports,max_ports=2
-device virtserialport,bus=ports.0,chardev=agent,name=org.chronovisor.agent.0
-object rng-random,id=rng,filename=/dev/urandom
-device virtio-rng-pci,rng=rng
-device pcie-root-port,id=port-0,chassis=1,addr=0x10.0,multifunction=on,io-reserve=0
-device pcie-root-port,id=port-1,chassis=2,addr=0x10.1,io-reserve=0
-device pcie-root-port,id=port-2,chassis=3,addr=0x10.2,io-reserve=0
-device pcie-root-port,id=port-3,chassis=4,addr=0x10.3,io-reserve=0
-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
-device pvpanic-pci,addr=0x0f
-action panic=shutdown
-action reboot=reset
-nodefaults
-no-user-config
-display none"
    );
}

#[test]
fn given_disks_then_each_image_is_named_by_its_format_and_no_backing_file_is_followed() {
    let disks = json!({"disks": [
        {"id": "root", "path": "a.qcow2", "format": "qcow2"},
        {"id": "data", "path": "d.raw", "format": "raw", "readOnly": true, "direct": true, "queues": 2,
         "queueSize": 64, "serial": "S-1", "rateLimit": {
            "bandwidth": {"size": 1_000_000, "refillMs": 100}, "ops": {"size": 100, "refillMs": 10_000},
         }},
    ]});
    let lines = lines(
        &with(disks, &["/images/a,b \"c\".qcow2", "/d.raw"]),
        Accelerator::Tcg,
    );
    has(
        &lines,
        concat!(
            r#"-blockdev {"backing":null,"driver":"qcow2","file":{"driver":"file","filename":"/images/a,b \"c\".qcow2","#,
            r#""read-only":false},"node-name":"disk-root","read-only":false}"#,
            "\n-device virtio-blk-pci,bus=port-0,drive=disk-root,id=disk-root,num-queues=1,serial=root\n",
            r#"-object {"id":"limit-data","limits":{"bps-total":10000000,"iops-total":10,"iops-total-max":100},"#,
            r#""qom-type":"throttle-group"}"#,
            "\n",
            r#"-blockdev {"driver":"throttle","file":{"cache":{"direct":true},"driver":"raw","file":{"cache":{"direct":true},"#,
            r#""driver":"file","filename":"/d.raw","read-only":true},"read-only":true},"node-name":"disk-data","#,
            r#""read-only":true,"throttle-group":"limit-data"}"#,
            "\n-device virtio-blk-pci,bus=port-1,drive=disk-data,id=disk-data,num-queues=2,queue-size=64,serial=S-1\n",
        ),
    );
}

#[test]
fn given_network_cards_then_each_has_its_backend_and_its_address() {
    let nics = json!({"nics": [
        {"id": "lan", "backend": {"tap": "tap0"}, "mac": "52:54:00:12:34:56", "mtu": 9000, "queues": 2,
         "queueSize": 512, "offloads": {"tso": false, "ufo": false, "checksum": false}},
        {"id": "out", "backend": "user", "mac": "52:54:00:12:34:58"},
    ]});
    let lines = lines(&with(nics, &[]), Accelerator::Kvm);
    has(
        &lines,
        concat!(
            "-netdev tap,downscript=no,id=nic-lan,ifname=tap0,queues=2,script=no\n",
            "-device virtio-net-pci,bus=port-0,csum=off,guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ufo=off,",
            "host_mtu=9000,host_tso4=off,host_tso6=off,host_ufo=off,id=nic-lan,mac=52:54:00:12:34:56,mq=on,",
            "netdev=nic-lan,romfile=,rx_queue_size=512,vectors=6\n",
            "-netdev user,id=nic-out\n",
            "-device virtio-net-pci,bus=port-1,id=nic-out,mac=52:54:00:12:34:58,netdev=nic-out,romfile=\n",
        ),
    );
}

#[test]
fn given_processors_then_their_model_and_arrangement_are_as_the_spec_says() {
    let cpu = json!({"cpu": {
        "vcpus": 2, "max": 8, "nested": false, "hyperv": true, "features": ["+avx2", "-rdtscp"],
        "topology": {"threadsPerCore": 2, "coresPerDie": 2, "diesPerPackage": 1, "packages": 2},
    }});
    let lines = lines(&with(cpu, &[]), Accelerator::Kvm);
    has(
        &lines,
        "-cpu host,svm=off,vmx=off,min-xlevel=0x80000008,topoext=on,hv-relaxed=on,hv-vapic=on,hv-spinlocks=0x1fff,hv-vpindex=on,hv-time=on,avx2=on,rdtscp=off\n",
    );
    has(&lines, "-smp 2,maxcpus=8,sockets=2,dies=1,cores=2,threads=2\n");
}

#[test]
fn given_memory_then_it_is_made_and_can_be_added_as_the_spec_says() {
    let memory = |memory| lines(&with(json!({"memory": memory}), &[]), Accelerator::Tcg);
    let huge = memory(json!({
        "size": "512MiB", "hugepages": "2MiB", "shared": true, "prefault": true,
        "hotplug": {"size": "256MiB"}, "balloon": {"freePageReporting": true},
    }));
    has(&huge, ",mem-merge=off,memory-backend=ram\n");
    has(
        &huge,
        concat!(
            "-m 512M,slots=2,maxmem=768M\n",
            "-object memory-backend-memfd,id=ram,size=512M,share=on,merge=off,prealloc=on,hugetlb=on,hugetlbsize=2M\n",
            "-device virtio-balloon-pci,id=balloon,deflate-on-oom=off,free-page-reporting=on\n",
        ),
    );
    let more = memory(json!({
        "size": "512MiB", "mergeable": true, "prefault": true, "hotplug": {"size": "1GiB", "method": "virtio-mem"},
    }));
    has(&more, ",mem-merge=on,memory-backend=ram\n");
    has(
        &more,
        concat!(
            "-m 512M,maxmem=1536M\n",
            "-object memory-backend-memfd,id=ram,size=512M,share=off,merge=on,prealloc=on\n",
            "-object memory-backend-memfd,id=more,size=1024M,share=off,merge=on,prealloc=off,reserve=off\n",
            "-device virtio-mem-pci,id=more,memdev=more,requested-size=0\n",
        ),
    );
}

#[test]
fn given_firmware_then_it_boots_from_the_disks_in_their_order_or_in_the_one_that_is_asked_for() {
    let of = |boot: serde_json::Value| {
        let disks = json!([
            {"id": "root", "path": "a", "format": "raw"},
            {"id": "data", "path": "b", "format": "raw"},
            {"id": "iso", "path": "c", "format": "raw"},
        ]);
        let mut machine = with(json!({"boot": boot, "disks": disks}), &["/a", "/b", "/c"]);
        machine.files.payload = Payload::Firmware("/images/OVMF, the one.fd".into());
        lines(&machine, Accelerator::Tcg)
    };
    let places = |lines: &str| -> Vec<String> {
        let devices = lines
            .lines()
            .filter(|line| line.starts_with("-device virtio-blk-pci"));
        let place = |line: &str| Some(line.split_once("bootindex=")?.1.split_once(',')?.0.to_owned());
        devices.filter_map(place).collect()
    };
    let all = of(json!({"firmware": "f"}));
    has(&all, "-bios /images/OVMF, the one.fd\n");
    assert!(!all.contains("-append") && !all.contains("-kernel"), "{all}");
    assert_eq!(places(&all), ["0", "1", "2"]);
    let two = of(json!({"firmware": "f", "order": ["iso", "root"]}));
    assert_eq!(places(&two), ["1", "0"]);
}

#[test]
fn given_ports_then_each_leads_where_it_is_asked_to() {
    let of = |more: serde_json::Value| {
        let mut machine = with(more, &[]);
        machine.files.attached.serial = Some("/logs/a,b".into());
        lines(&machine, Accelerator::Tcg)
    };
    let off = of(json!({"serial": "off"}));
    assert!(
        !off.contains("\n-serial ") && !off.contains("id=console"),
        "{off}"
    );
    has(&off, "-append quiet panic=-1\n");
    let null = of(json!({"serial": "null", "console": "null", "panicDevice": true}));
    has(&null, "-chardev null,id=console\n-serial chardev:console\n");
    has(
        &null,
        "-chardev null,id=virtual\n-device virtconsole,bus=ports.0,chardev=virtual\n",
    );
    has(&null, "-append console=ttyS0 quiet");
    assert_eq!(null.matches("pvpanic-pci").count(), 1, "{null}");
    let socket = of(json!({"serial": "off", "console": "socket"}));
    has(
        &socket,
        "-chardev socket,id=virtual,path=hvc.sock,server=on,wait=off\n",
    );
    has(&socket, "-append console=hvc0 quiet");
    let file = of(json!({"serial": {"file": "l"}}));
    has(
        &file,
        "-chardev file,id=console,path=/logs/a,,b,append=on\n-serial chardev:console\n",
    );
    let own = of(json!({"serial": "socket"}));
    has(
        &own,
        "-chardev socket,id=console,path=serial.sock,server=on,wait=off\n",
    );
}

#[test]
fn given_what_other_processes_serve_then_their_sockets_and_files_are_connected() {
    let mut machine = with(
        json!({
            "memory": {"size": "512MiB", "shared": true, "zones": [
                {"size": "128MiB", "cpus": [1], "hostNode": 3}, {"size": "384MiB", "cpus": [0]},
            ]},
            "disks": [{"id": "blk", "path": "b", "format": "vhost-user", "queues": 2, "iommu": true}],
            "nics": [
                {"id": "a", "backend": {"vhostUser": "s"}, "mac": "52:54:00:12:34:56", "iommu": true},
                {"id": "b", "backend": "vhostUserServer", "mac": "52:54:00:12:34:58"},
            ],
            "shares": [{"tag": "home", "socket": "f", "queueSize": 512}],
            "pmem": [{"id": "cache", "path": "p", "size": "64MiB", "discardWrites": true}],
            "tpm": "t",
        }),
        &["/run/blk,1.sock"],
    );
    machine.files.attached = Attached {
        switches: vec![Some("/run/net.sock".into()), None],
        shares: vec!["/run/fs.sock".into()],
        pmem: vec!["/cache,1".into()],
        tpm: Some("/run/tpm.sock".into()),
        ..Attached::default()
    };
    let lines = lines(&machine, Accelerator::Kvm);
    for expected in [
        "-machine q35,usb=off,vmport=off,sata=off,smbus=off,mem-merge=off\n",
        "-m 512M,maxmem=576M\n",
        "-object memory-backend-memfd,id=zone-0,size=128M,share=on,merge=off,prealloc=off,host-nodes=3,policy=bind\n",
        "-numa node,nodeid=0,cpus=1,memdev=zone-0\n",
        "-numa node,nodeid=1,cpus=0,memdev=zone-1\n",
        "-device virtio-iommu-pci\n",
        "-chardev socket,id=disk-blk,path=/run/blk,,1.sock\n-device vhost-user-blk-pci,bus=port-0,chardev=disk-blk,\
         disable-legacy=on,id=disk-blk,iommu_platform=on,num-queues=2\n",
        "-chardev socket,id=nic-a,path=/run/net.sock\n-netdev vhost-user,chardev=nic-a,id=nic-a\n",
        "-chardev socket,id=nic-b,path=nic-b.sock,server=on,wait=off\n-netdev vhost-user,chardev=nic-b,id=nic-b\n",
        "-chardev socket,id=share-0,path=/run/fs.sock\n\
         -device vhost-user-fs-pci,id=share-0,chardev=share-0,tag=home,queue-size=512\n",
        "-object {\"id\":\"pmem-cache\",\"mem-path\":\"/cache,1\",\"qom-type\":\"memory-backend-file\",\"share\":false,\
         \"size\":67108864}\n-device virtio-pmem-pci,id=pmem-cache,memdev=pmem-cache\n",
        "-chardev socket,id=tpm,path=/run/tpm.sock\n-tpmdev emulator,id=tpm,chardev=tpm\n-device tpm-crb,tpmdev=tpm\n",
    ] {
        has(&lines, expected);
    }
}

#[test]
fn given_a_microvm_then_it_is_one_that_has_pcie_and_a_power_button() {
    let micro = lines(&with(json!({"machine": "microvm"}), &[]), Accelerator::Tcg);
    has(
        &micro,
        "-machine microvm,pcie=on,acpi=on,rtc=on,x-option-roms=off,mem-merge=off\n",
    );
    let q35 = lines(&with(json!({"machine": "q35"}), &[]), Accelerator::Tcg);
    has(&q35, "-machine q35,usb=off");
}

#[test]
fn given_an_initramfs_a_source_of_random_numbers_and_a_watchdog_then_they_are_there() {
    let mut machine = with(json!({"rng": "hwrng", "watchdog": true}), &[]);
    machine.files.payload = Payload::Kernel {
        kernel: "/images/vmlinuz".into(),
        initramfs: Some("/images/initramfs.cpio".into()),
    };
    let lines = lines(&machine, Accelerator::Kvm);
    has(&lines, "-accel kvm\n-cpu host\n");
    has(&lines, "-initrd /images/initramfs.cpio\n");
    has(&lines, "-object rng-random,id=rng,filename=/dev/hwrng\n");
    has(&lines, "-device i6300esb\n-action watchdog=reset\n");
}

#[test]
fn given_a_command_line_that_leaves_no_room_for_the_console_then_it_is_refused() {
    let cmdline = "x".repeat(chv_domain::spec::MAX_CMDLINE);
    let machine = with(json!({"boot": {"kernel": "vmlinuz", "cmdline": cmdline}}), &[]);
    assert!(matches!(
        args(&machine, Accelerator::Tcg, true, 7),
        Err(HypervisorError::Unsupported { .. })
    ));
}
