//! What the guest finds of its machine, from the inside: whoever made it can compare. Reads /proc and /sys, changes
//! nothing. What can't be read is left out.

use std::fs;
use std::path::Path;

use serde::Serialize;

/// Where the kernel lists virtio devices.
pub(crate) const VIRTIO: &str = "/sys/bus/virtio/devices";

/// A disk's sectors are of 512 bytes there, whatever its own are.
const SECTOR: u64 = 512;

/// The largest disk that is read, in bytes.
const SMALL: u64 = 4 << 20;

/// The machine as its guest finds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Machine {
    /// The processors that run, as ranges: `0-1`.
    cpus: String,
    /// Those that it may come to have.
    cpus_possible: String,
    /// Threads of a core, cores of a package, and packages, of those that run.
    topology: [usize; 3],
    /// Memory that the kernel has for itself and programs, in KiB.
    memory_kib: u64,
    disks: Vec<Disk>,
    nics: Vec<Nic>,
    /// The kinds of its virtio devices, by their numbers in the virtio specification.
    virtio: Vec<u32>,
    /// The kernel's command line.
    cmdline: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Disk {
    name: String,
    serial: String,
    bytes: u64,
    read_only: bool,
    queues: usize,
    /// The CRC-32 of what is on it, where that is little.
    crc32: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Nic {
    name: String,
    mac: String,
    mtu: u64,
}

impl Machine {
    /// Looks, below `root`, which is `/` but in tests.
    pub(crate) fn look(root: &Path) -> Self {
        let cpu = root.join("sys/devices/system/cpu");
        let meminfo = text(&root.join("proc/meminfo"));
        Self {
            cpus: text(&cpu.join("online")),
            cpus_possible: text(&cpu.join("possible")),
            topology: topology(&cpu),
            memory_kib: meminfo
                .lines()
                .find_map(|line| line.strip_prefix("MemTotal:"))
                .and_then(|amount| amount.trim().strip_suffix("kB"))
                .map_or(0, number),
            disks: names(&root.join("sys/block"), "vd")
                .into_iter()
                .map(|name| Disk::look(root, name))
                .collect(),
            nics: names(&root.join("sys/class/net"), "")
                .into_iter()
                .filter(|name| name != "lo")
                .map(|name| Nic::look(&root.join("sys/class/net"), name))
                .collect(),
            virtio: virtio(&root.join(&VIRTIO[1..])),
            cmdline: text(&root.join("proc/cmdline")),
        }
    }
}

impl Disk {
    fn look(root: &Path, name: String) -> Self {
        let dir = root.join("sys/block").join(&name);
        let bytes = number(&text(&dir.join("size"))) * SECTOR;
        let content = (bytes <= SMALL).then(|| fs::read(root.join("dev").join(&name)));
        Self {
            serial: text(&dir.join("serial")),
            bytes,
            crc32: content
                .and_then(Result::ok)
                .map(|content| crc32fast::hash(&content)),
            read_only: text(&dir.join("ro")) == "1",
            queues: names(&dir.join("mq"), "").len(),
            name,
        }
    }
}

impl Nic {
    fn look(net: &Path, name: String) -> Self {
        let dir = net.join(&name);
        Self {
            mac: text(&dir.join("address")),
            mtu: number(&text(&dir.join("mtu"))),
            name,
        }
    }
}

fn topology(cpu: &Path) -> [usize; 3] {
    let numbered = names(cpu, "cpu").into_iter().filter(|name| {
        name.strip_prefix("cpu")
            .is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
    });
    let (mut cpus, mut cores, mut packages) = (0, Vec::new(), Vec::new());
    for name in numbered {
        let dir = cpu.join(name).join("topology");
        let (package, core) = (text(&dir.join("physical_package_id")), text(&dir.join("core_id")));
        if package.is_empty() {
            // It does not run now.
            continue;
        }
        cpus += 1;
        cores.push((package.clone(), core));
        packages.push(package);
    }
    cores.sort();
    cores.dedup();
    packages.sort();
    packages.dedup();
    [
        cpus / cores.len().max(1),
        cores.len() / packages.len().max(1),
        packages.len(),
    ]
}

/// The kinds of the virtio devices in the directory `devices`, in order.
pub(crate) fn virtio(devices: &Path) -> Vec<u32> {
    let kind = |name| {
        let text = text(&devices.join(name).join("device"));
        u32::from_str_radix(text.strip_prefix("0x")?, 16).ok()
    };
    let mut kinds: Vec<_> = names(devices, "").into_iter().filter_map(kind).collect();
    kinds.sort_unstable();
    kinds
}

fn names(dir: &Path, prefix: &str) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(prefix))
        .collect();
    names.sort();
    names
}

fn text(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_default().trim_end().to_owned()
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_the_kernels_files_then_the_machine_is_what_they_say() {
        let root = tempfile::tempdir().unwrap();
        for (file, content) in [
            ("proc/meminfo", "MemTotal:         210000 kB\nMemFree: 1 kB\n"),
            ("proc/cmdline", "console=ttyS0 quiet\n"),
            ("sys/devices/system/cpu/online", "0-1\n"),
            ("sys/devices/system/cpu/possible", "0-3\n"),
            ("sys/devices/system/cpu/cpu0/topology/physical_package_id", "0\n"),
            ("sys/devices/system/cpu/cpu0/topology/core_id", "0\n"),
            ("sys/devices/system/cpu/cpu1/topology/physical_package_id", "0\n"),
            ("sys/devices/system/cpu/cpu1/topology/core_id", "1\n"),
            ("sys/devices/system/cpu/cpu2/uevent", "\n"),
            ("sys/devices/system/cpu/cpufreq/boost", "1\n"),
            ("sys/block/vda/serial", "root\n"),
            ("sys/block/vda/size", "2048\n"),
            ("sys/block/vda/ro", "1\n"),
            ("sys/block/vda/mq/0/nr_tags", "64\n"),
            ("dev/vda", "123456789"),
            ("sys/block/loop0/size", "0\n"),
            ("sys/class/net/lo/mtu", "65536\n"),
            ("sys/class/net/eth0/address", "52:54:00:12:34:56\n"),
            ("sys/class/net/eth0/mtu", "1400\n"),
            ("sys/bus/virtio/devices/virtio1/device", "0x0005\n"),
            ("sys/bus/virtio/devices/virtio0/device", "0x0018\n"),
        ] {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        assert_eq!(
            serde_json::to_value(Machine::look(root.path())).unwrap(),
            serde_json::json!({
                "cpus": "0-1", "cpus_possible": "0-3", "topology": [1, 2, 1], "memory_kib": 210_000,
                "disks": [{"name": "vda", "serial": "root", "bytes": 1_048_576, "read_only": true, "queues": 1, "crc32": 0xcbf4_3926_u32}],
                "nics": [{"name": "eth0", "mac": "52:54:00:12:34:56", "mtu": 1400}],
                "virtio": [5, 24],
                "cmdline": "console=ttyS0 quiet",
            })
        );
    }

    #[test]
    fn given_nothing_to_read_then_it_says_so_little_and_goes_on() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Machine::look(root.path()).disks, []);
    }
}
