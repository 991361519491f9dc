//! Specs as people write them, and what is said of their fields.

use super::*;

const EVERYTHING: &str = "
cpu:
  vcpus: 2
  max: 4
  topology: {threadsPerCore: 1, coresPerDie: 2, diesPerPackage: 1, packages: 2}
  nested: true
  hyperv: true
  features: [+amx]
  affinity: [{vcpu: 0, hostCpus: [1, 2]}]
  weight: 200
  limit: 150
memory:
  size: 512MiB
  hotplug: {size: 1GiB, method: virtio-mem}
  hugepages: 2MiB
  shared: true
  prefault: true
  transparentHugepages: false
  balloon: {deflateOnOom: true}
boot: {kernel: uos/vmlinuz, cmdline: quiet}
disks:
- {id: root, path: a.qcow2, format: qcow2, direct: true, queues: 2, queueSize: 64, serial: S1}
- {id: data, path: b.raw, format: raw, rateLimit: {ops: {size: 100, refillMs: 1000, oneTimeBurst: 5}}}
- {id: served, path: blk.sock, format: vhost-user, queues: 2, pciSegment: 1, iommu: true}
nics:
- {id: lan, backend: {tap: tap0}, mtu: 9000, offloads: {tso: false}, hostMac: 52:54:00:00:00:02}
- {id: switch, backend: {vhostUser: net.sock}, pciSegment: 1, iommu: true}
- {id: server, backend: vhostUserServer}
serial: {file: serial.log}
console: \"null\"
panicDevice: true
shares: [{tag: home, socket: fs.sock, queueSize: 512, pciSegment: 2}]
pmem: [{id: cache, path: cache.img, size: 64MiB, discardWrites: true, pciSegment: 2}]
tpm: tpm.sock
rng: hwrng
watchdog: true
cloudInit:
  userData: |
    #cloud-config
    packages: [nginx]
  networkConfig: \"version: 2\"
  metaData: \"colour: red\"
  sshKeys: [ssh-ed25519 AAAA me@home]
";

fn read(text: &str) -> VmSpec {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn small(rest: &str) -> VmSpec {
    read(&format!("cpu: 2\nmemory: 512MiB\nboot: {{kernel: k}}\n{rest}"))
}

#[test]
fn a_manifest_reads_into_a_spec_and_back() {
    for spec in [
        read(EVERYTHING),
        small(""),
        small("nics: [{id: lan, backend: user}]\n"),
    ] {
        let json: VmSpec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
        assert_eq!(json, spec);
        let stored: VmSpec = crate::stored::decode(&crate::stored::encode(&spec).unwrap()).unwrap();
        assert_eq!(stored, spec);
        assert_eq!(spec.fault(), None);
    }
    assert_eq!(read(EVERYTHING).memory.size.mib(), 512);
    assert_eq!(
        small("").cpu,
        read("cpu: {vcpus: 2}\nmemory: {size: 512MiB}\nboot: {kernel: k}\n").cpu
    );
}

#[test]
fn what_is_not_given_is_not_written_for_people_and_takes_a_byte_where_it_is_stored() {
    let spec = small("");
    assert_eq!(
        serde_json::to_value(&spec).unwrap(),
        serde_json::json!({"cpu": {"vcpus": 2}, "memory": {"size": "512MiB"}, "boot": {"kernel": "k"}})
    );
    let stored = crate::stored::encode(&spec).unwrap().len();
    let optional = |fields: &[Field]| fields.iter().filter(|field| field.default.is_some()).count();
    let spare = optional(VmSpec::FIELDS)
        + optional(CpuSpec::FIELDS)
        + optional(MemorySpec::FIELDS)
        + optional(Boot::FIELDS);
    assert!(
        stored < 30 + spare,
        "{stored} bytes, of which {spare} say nothing"
    );
}

#[test]
fn an_unknown_field_and_a_value_out_of_range_are_refused() {
    for text in [
        "cpu: 1\nmemory: 1GiB\nboot: {kernel: k}\nvcpus: 2\n",
        "cpu: 0\nmemory: 1GiB\nboot: {kernel: k}\n",
        "cpu: two\nmemory: 1GiB\nboot: {kernel: k}\n",
        "cpu: {vcpus: 1, cores: 2}\nmemory: 1GiB\nboot: {kernel: k}\n",
        "cpu: 1\nmemory: 0MiB\nboot: {kernel: k}\n",
        "cpu: 1\nmemory: 512\nboot: {kernel: k}\n",
        "cpu: 1\nmemory: 1GiB\nboot: {kernel: ../../etc/shadow}\n",
        "cpu: 1\nmemory: 1GiB\nboot: {kernel: k}\nstopTimeout: 0\n",
        "cpu: 1\nmemory: 1GiB\nboot: {kernel: k}\ndisks: [{id: A, path: p, format: raw}]\n",
        "cpu: 1\nmemory: 1GiB\nboot: {kernel: k}\ndisks: [{id: a, path: p}]\n",
        "cpu: 1\nmemory: 1GiB\nboot: {kernel: k}\ndisks: [{id: a, path: p, format: raw, queueSize: 100}]\n",
        "cpu: 1\nmemory: 1GiB\nboot: {kernel: k}\nnics: [{id: a, backend: user, mtu: 10}]\n",
        "cpu: {vcpus: 1, weight: 0}\nmemory: 1GiB\nboot: {kernel: k}\n",
        "cpu: {vcpus: 1, weight: 10001}\nmemory: 1GiB\nboot: {kernel: k}\n",
        "cpu: {vcpus: 1, limit: 0}\nmemory: 1GiB\nboot: {kernel: k}\n",
        "cpu: 1\nmemory: 1GiB\nboot: {kernel: k}\nserial: {file: ../../etc/passwd}\n",
        "cpu: 1\nmemory: 1GiB\nboot: {kernel: k}\nserial: vt\n",
        "cpu: 1\nmemory: 1GiB\nboot: {kernel: k}\ntpm: a/../b\n",
        "cpu: 1\nmemory: 1GiB\nboot: {kernel: k}\nshares: [{tag: 'a,b', socket: s}]\n",
        "cpu: 1\nmemory: 1GiB\nboot: {kernel: k}\ndisks: [{id: a, path: p, format: raw, pciSegment: 16}]\n",
        "cpu: 1\nmemory: {size: 1GiB, zones: [{size: 1GiB, cpus: [0], hostNode: 1024}]}\nboot: {kernel: k}\n",
    ] {
        assert!(serde_saphyr::from_str::<VmSpec>(text).is_err(), "{text}");
    }
}

#[test]
fn fields_that_exclude_each_other_are_found_with_their_path() {
    for (rest, field) in [
        ("cpu: {vcpus: 4, max: 2}", "cpu.max"),
        (
            "cpu: {vcpus: 4, topology: {threadsPerCore: 2, coresPerDie: 1, diesPerPackage: 1, packages: 1}}",
            "cpu.topology",
        ),
        (
            "cpu: {vcpus: 1, affinity: [{vcpu: 1, hostCpus: [0]}]}",
            "cpu.affinity[0]",
        ),
        (
            "cpu: {vcpus: 1, affinity: [{vcpu: 0, hostCpus: []}]}",
            "cpu.affinity[0]",
        ),
        (
            "cpu: {vcpus: 1, affinity: [{vcpu: 0, hostCpus: [1]}, {vcpu: 0, hostCpus: [2]}]}",
            "cpu.affinity[1]",
        ),
        ("memory: {size: 513MiB, hugepages: 2MiB}", "memory.size"),
        (
            "memory: {size: 512MiB, hugepages: 2MiB, mergeable: true}",
            "memory.mergeable",
        ),
        (
            "memory: {size: 512MiB, hotplug: {size: 100MiB}}",
            "memory.hotplug.size",
        ),
        (
            "disks: [{id: a, path: p, format: raw}, {id: a, path: q, format: raw}]",
            "disks[1].id",
        ),
        (
            "disks: [{id: cidata, path: p, format: raw}]\ncloudInit: {}",
            "disks[0].id",
        ),
        ("cloudInit: {userData: nothing}", "cloudInit.userData"),
        ("boot: {}", "boot"),
        ("serial: pty", "serial"),
        ("console: tty", "console"),
        ("console: log", "console"),
        ("shares: [{tag: a, socket: s}]", "shares[0]"),
        (
            "memory: {size: 512MiB, shared: true}\nshares: [{tag: a, socket: s}, {tag: a, socket: t}]",
            "shares[1].tag",
        ),
        ("disks: [{id: a, path: p, format: vhost-user}]", "disks[0]"),
        (
            "memory: {size: 512MiB, shared: true}\ndisks: [{id: a, path: p, format: vhost-user, direct: true}]",
            "disks[0].direct",
        ),
        ("nics: [{id: a, backend: vhostUserServer}]", "nics[0]"),
        (
            "nics: [{id: a, backend: user, hostMac: 52:54:00:00:00:02}]",
            "nics[0].hostMac",
        ),
        ("pmem: [{id: a, path: p, size: 3MiB}]", "pmem[0].size"),
        (
            "pmem: [{id: a, path: p, size: 2MiB}, {id: a, path: q, size: 2MiB}]",
            "pmem[1].id",
        ),
        ("machine: microvm\ntpm: s", "tpm"),
        (
            "memory: {size: 512MiB, zones: [{size: 256MiB, cpus: [0]}]}",
            "memory.zones",
        ),
        (
            "cpu: 2\nmemory: {size: 512MiB, zones: [{size: 512MiB, cpus: [0]}]}",
            "memory.zones",
        ),
        (
            "memory: {size: 512MiB, zones: [{size: 512MiB, cpus: [0, 0]}]}",
            "memory.zones[0].cpus",
        ),
        (
            "memory: {size: 512MiB, zones: [{size: 512MiB, cpus: [1]}]}",
            "memory.zones[0].cpus",
        ),
        (
            "memory: {size: 512MiB, hotplug: {size: 128MiB}, zones: [{size: 512MiB, cpus: [0]}]}",
            "memory.hotplug",
        ),
        ("boot: {kernel: k, firmware: f}", "boot.firmware"),
        ("boot: {firmware: f, initramfs: i}", "boot.initramfs"),
        ("boot: {firmware: f, cmdline: quiet}", "boot.cmdline"),
        ("boot: {kernel: k, order: [a]}", "boot.order"),
        ("boot: {firmware: f, order: [a]}", "boot.order[0]"),
        (
            "boot: {firmware: f, order: [a, a]}\ndisks: [{id: a, path: p, format: raw}]",
            "boot.order[1]",
        ),
        ("machine: microvm\nboot: {firmware: f}", "boot.firmware"),
        ("machine: microvm\ncpu: {vcpus: 1, max: 2}", "cpu.max"),
        (
            "machine: microvm\ncpu: {vcpus: 2, topology: {threadsPerCore: 1, coresPerDie: 1, diesPerPackage: 2, packages: 1}}",
            "cpu.topology.diesPerPackage",
        ),
        (
            "machine: microvm\nmemory: {size: 512MiB, hotplug: {size: 128MiB}}",
            "memory.hotplug",
        ),
        (
            "disks: [{id: a, path: p, format: raw, rateLimit: {}}]",
            "disks[0].rateLimit",
        ),
        (
            "nics: [{id: a, backend: user}, {id: b, backend: user}, {id: a, backend: user}]",
            "nics[2].id",
        ),
    ] {
        let mut text = format!("{rest}\n");
        let groups = [
            ("cpu", "cpu: 1\n"),
            ("memory", "memory: 512MiB\n"),
            ("boot", "boot: {kernel: k}\n"),
        ];
        for (group, short) in groups {
            if !rest.lines().any(|line| line.starts_with(group)) {
                text.push_str(short);
            }
        }
        assert_eq!(
            read(&text).fault().map(|fault| fault.field).as_deref(),
            Some(field),
            "{text}"
        );
    }
}

#[test]
fn what_a_hypervisor_lacks_is_named_by_its_field() {
    use HypervisorKind::{CloudHypervisor, QemuKvm, QemuTcg};
    let lack = |spec: &VmSpec, kind| spec.lacks(kind).map(|lack| lack.field);
    assert_eq!(lack(&read(EVERYTHING), CloudHypervisor), None);
    assert_eq!(lack(&read(EVERYTHING), QemuTcg).as_deref(), Some("cpu.hyperv"));
    assert_eq!(
        lack(&read(EVERYTHING), QemuKvm).as_deref(),
        Some("memory.transparentHugepages")
    );
    let threads = read(
        "cpu: {vcpus: 4, topology: {threadsPerCore: 2, coresPerDie: 2, diesPerPackage: 1, packages: 1}}
memory: 1GiB\nboot: {kernel: k}\n",
    );
    assert_eq!(
        lack(&threads, QemuTcg).as_deref(),
        Some("cpu.topology.threadsPerCore")
    );
    assert_eq!(lack(&threads, QemuKvm), None);
    let user = small("nics: [{id: a, backend: {tap: t}}, {id: b, backend: user}]\n");
    assert_eq!(
        lack(&user, CloudHypervisor).as_deref(),
        Some("nics[1].backend.user")
    );
    assert_eq!(lack(&user, QemuTcg), None);
    let firmware = read(
        "cpu: 1\nmemory: 1GiB\nboot: {firmware: f, order: [a]}\ndisks: [{id: a, path: p, format: raw}]\n",
    );
    assert_eq!(
        lack(&firmware, HypervisorKind::Firecracker).as_deref(),
        Some("boot.firmware")
    );
    assert_eq!(lack(&firmware, CloudHypervisor).as_deref(), Some("boot.order"));
    assert_eq!(lack(&firmware, QemuTcg), None);
    assert_eq!(
        lack(&small("machine: microvm\n"), CloudHypervisor).as_deref(),
        Some("machine")
    );
    let microvm = small("machine: microvm\n");
    assert_eq!(
        microvm.lacks(QemuTcg).unwrap().to_string(),
        "machine is microvm: that needs qemu-kvm"
    );
    assert_eq!(microvm.lacks(QemuKvm), None);
    for (rest, kind, field) in [
        ("console: socket\n", CloudHypervisor, "console"),
        (
            "disks: [{id: a, path: p, format: raw, pciSegment: 1}]\n",
            QemuTcg,
            "disks[0].pciSegment",
        ),
        (
            "pmem: [{id: a, path: p, size: 2MiB, pciSegment: 1}]\n",
            QemuKvm,
            "pmem[0].pciSegment",
        ),
    ] {
        assert_eq!(lack(&small(rest), kind).as_deref(), Some(field), "{rest}");
    }
    let burst = small(
        "disks: [{id: a, path: p, format: raw, rateLimit: {ops: {size: 1, refillMs: 1, oneTimeBurst: 1}}}]\n",
    );
    assert_eq!(
        burst.lacks(QemuTcg).unwrap().to_string(),
        "disks[0].rateLimit.ops.oneTimeBurst needs cloud-hypervisor or firecracker"
    );
    for (rest, field) in [
        ("cpu: {vcpus: 33}\n", Some("cpu.vcpus")),
        ("cpu: 1\nmachine: q35\n", Some("machine")),
        ("cpu: {vcpus: 1, weight: 10, limit: 50}\n", None),
        ("cpu: 1\nserial: off\n", Some("serial")),
        ("cpu: 1\nconsole: socket\n", Some("console")),
        ("cpu: 1\npanicDevice: true\n", Some("panicDevice")),
        ("cpu: 1\ntpm: s\n", Some("tpm")),
        ("cpu: 1\nshares: [{tag: a, socket: s}]\n", Some("shares")),
        ("cpu: 1\npmem: [{id: a, path: p, size: 2MiB}]\n", Some("pmem")),
        (
            "cpu: 1\ndisks: [{id: a, path: p, format: vhost-user}]\n",
            Some("disks[0].format"),
        ),
        (
            "cpu: 1\nnics: [{id: a, backend: vhostUserServer}]\n",
            Some("nics[0].backend.vhostUserServer"),
        ),
        (
            "cpu: 1\nnics: [{id: a, backend: {tap: t}, iommu: true}]\n",
            Some("nics[0].iommu"),
        ),
        ("cpu: {vcpus: 32, features: [+avx2]}\n", Some("cpu.features")),
        (
            "cpu: 1\ndisks: [{id: a, path: p, format: qcow2}]\n",
            Some("disks[0].format"),
        ),
        (
            "cpu: 1\nnics: [{id: a, backend: user}]\n",
            Some("nics[0].backend.user"),
        ),
        (
            "cpu: 32\ndisks: [{id: a, path: p, format: raw, readOnly: true}]\n",
            None,
        ),
    ] {
        let spec = read(&format!("{rest}memory: 512MiB\nboot: {{kernel: k}}\n"));
        assert_eq!(
            lack(&spec, HypervisorKind::Firecracker).as_deref(),
            field,
            "{rest}"
        );
    }
}

/// Every field in `value`, by its path without the places in lists.
fn paths(value: &serde_json::Value, at: &str, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                let path = format!("{at}.{name}");
                found.push(path.clone());
                paths(value, &path, found);
            }
        }
        serde_json::Value::Array(list) => list.iter().for_each(|value| paths(value, at, found)),
        _ => {}
    }
}

fn explained(fields: &[Field], at: &str, found: &mut Vec<String>) {
    for field in fields {
        let path = format!("{at}.{}", field.name());
        assert!(!field.about.is_empty() && !(field.values)().is_empty(), "{path}");
        found.push(path.clone());
        explained(field.fields, &path, found);
    }
}

#[test]
fn every_field_is_explained_under_the_name_that_it_is_written_with() {
    let (mut written, mut known) = (Vec::new(), Vec::new());
    paths(
        &serde_json::to_value(read(EVERYTHING)).unwrap(),
        "spec",
        &mut written,
    );
    explained(VmSpec::FIELDS, "spec", &mut known);
    // A TAP device's name is a value of `backend`, and so on.
    let values = [
        "spec.nics.backend.tap",
        "spec.nics.backend.vhostUser",
        "spec.serial.file",
    ];
    written.retain(|path| !values.contains(&path.as_str()));
    let unexplained: Vec<_> = written.iter().filter(|path| !known.contains(path)).collect();
    assert!(unexplained.is_empty(), "{unexplained:?}");
}
