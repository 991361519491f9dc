//! What VMs ask for and should do, and what hosts have.

use std::collections::BTreeMap;

use chv_domain::spec::{
    Affinity, Balloon, Boot, CloudInit, CloudText, Cmdline, Console, CpuSpec, DeviceId, Disk, DiskFormat,
    DiskSerial, HostPath, Hotplug, HotplugMethod, HugePages, IfName, MacAddress, MachineType, MemorySpec,
    MemoryZone, Nic, NicBackend, Offloads, OnHostLoss, PciSegment, Pmem, Port, QueueSize, RateLimit, Restart,
    RestartPolicy, RngSource, Share, StartPriority, StopTimeout, TokenBucket, Topology, Within,
};
use chv_domain::*;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::ids::{some_seq, vm_id};

pub(super) fn kind() -> impl Strategy<Value = HypervisorKind> {
    prop::sample::select(HypervisorKind::ALL.to_vec())
}

fn path() -> impl Strategy<Value = HostPath> {
    "/?[a-zA-Z0-9._é-]{1,8}(/[a-zA-Z0-9_-]{1,8}){0,3}"
        .prop_filter_map("climbs out", |text| HostPath::try_from(text).ok())
}

fn boot() -> impl Strategy<Value = Boot> {
    let files = (option::of(path()), option::of(path()), option::of(path()));
    (files, "[ -~]{0,40}", vec(device_id(), 0..3)).prop_map(
        |((kernel, initramfs, firmware), cmdline, order)| Boot {
            kernel,
            initramfs,
            cmdline: Cmdline::try_from(cmdline).unwrap(),
            firmware,
            order,
        },
    )
}

fn device_id() -> impl Strategy<Value = DeviceId> {
    "[a-z][a-z0-9-]{0,14}".prop_map(|text| text.parse().unwrap())
}

fn queue_size() -> impl Strategy<Value = QueueSize> {
    (1u32..=15).prop_map(|power| QueueSize::try_from(1 << power).unwrap())
}

fn within<const LEAST: u64, const MOST: u64>() -> impl Strategy<Value = Within<LEAST, MOST>> {
    (LEAST..=MOST).prop_map(|number| Within::try_from(number).unwrap())
}

fn bucket() -> impl Strategy<Value = TokenBucket> {
    (within(), within(), option::of(within())).prop_map(|(size, refill_ms, one_time_burst)| TokenBucket {
        size,
        refill_ms,
        one_time_burst,
    })
}

fn rate_limit() -> impl Strategy<Value = RateLimit> {
    (option::of(bucket()), option::of(bucket())).prop_map(|(bandwidth, ops)| RateLimit { bandwidth, ops })
}

fn disk() -> impl Strategy<Value = Disk> {
    let format = prop::sample::select(DiskFormat::ALL);
    let serial = "[a-zA-Z0-9._-]{1,20}".prop_map(|text| DiskSerial::try_from(text).unwrap());
    let needed = (device_id(), path(), format);
    let queues = (option::of(within()), option::of(queue_size()));
    (
        needed,
        any::<(bool, bool)>(),
        queues,
        option::of(serial),
        option::of(rate_limit()),
        place(),
    )
        .prop_map(
            |((id, path, format), (read_only, direct), (queues, queue_size), serial, rate_limit, place)| {
                Disk {
                    id,
                    path,
                    format,
                    read_only,
                    direct,
                    queues,
                    queue_size,
                    serial,
                    rate_limit,
                    pci_segment: place.0,
                    iommu: place.1,
                }
            },
        )
}

/// A PCI segment, and whether behind an IOMMU.
fn place() -> impl Strategy<Value = (Option<PciSegment>, bool)> {
    (option::of(within()), any::<bool>())
}

fn mac() -> impl Strategy<Value = MacAddress> {
    (vm_id(), device_id()).prop_map(|(vm, nic)| MacAddress::of(vm, &nic))
}

fn offloads() -> impl Strategy<Value = Offloads> {
    any::<(bool, bool, bool)>().prop_map(|(tso, ufo, checksum)| Offloads {
        tso: tso.into(),
        ufo: ufo.into(),
        checksum: checksum.into(),
    })
}

fn nic() -> impl Strategy<Value = Nic> {
    let backend = prop_oneof![
        Just(NicBackend::User),
        "[a-zA-Z0-9_-]{1,15}".prop_map(|text| NicBackend::Tap(IfName::try_from(text).unwrap())),
        path().prop_map(NicBackend::VhostUser),
        Just(NicBackend::VhostUserServer),
    ];
    let macs = (option::of(mac()), option::of(mac()));
    let sizes = (
        option::of(within()),
        option::of(within()),
        option::of(queue_size()),
    );
    (
        device_id(),
        backend,
        macs,
        sizes,
        offloads(),
        option::of(rate_limit()),
        place(),
    )
        .prop_map(
            |(
                id,
                backend,
                (mac, host_mac),
                (mtu, queues, queue_size),
                offloads,
                rate_limit,
                (pci_segment, iommu),
            )| Nic {
                pci_segment,
                iommu,
                id,
                backend,
                mac,
                host_mac,
                mtu,
                queues,
                queue_size,
                offloads,
                rate_limit,
            },
        )
}

fn vcpus() -> impl Strategy<Value = Vcpus> {
    (1u32..).prop_map(|count| Vcpus::new(count).unwrap())
}

fn cpu() -> impl Strategy<Value = CpuSpec> {
    let topology =
        (within(), within(), within(), within()).prop_map(|(threads, cores, dies, packages)| Topology {
            threads_per_core: threads,
            cores_per_die: cores,
            dies_per_package: dies,
            packages,
        });
    let feature = "[+-][a-z0-9._-]{1,32}".prop_map(|text| text.parse().unwrap());
    let affinity = (within(), vec(within(), 0..3)).prop_map(|(vcpu, host_cpus)| Affinity { vcpu, host_cpus });
    (
        (vcpus(), option::of(vcpus())),
        option::of(topology),
        any::<(Option<bool>, bool)>(),
        vec(feature, 0..3),
        vec(affinity, 0..3),
        (option::of(within()), option::of(within())),
    )
        .prop_map(
            |((vcpus, max), topology, (nested, hyperv), features, affinity, (weight, limit))| CpuSpec {
                weight,
                limit,
                vcpus,
                max,
                topology,
                nested,
                hyperv,
                features,
                affinity,
            },
        )
}

fn amount() -> impl Strategy<Value = Memory> {
    (1u32..).prop_map(|mib| Memory::from_mib(mib).unwrap())
}

fn memory() -> impl Strategy<Value = MemorySpec> {
    let method = prop::sample::select(HotplugMethod::ALL);
    let zone = (amount(), vec(within(), 0..3), option::of(within())).prop_map(|(size, cpus, host_node)| {
        MemoryZone {
            size,
            cpus,
            host_node,
        }
    });
    let hotplug = (amount(), method).prop_map(|(size, method)| Hotplug { size, method });
    let balloon = (option::of(amount()), any::<(bool, bool)>()).prop_map(
        |(size, (deflate_on_oom, free_page_reporting))| Balloon {
            size,
            deflate_on_oom,
            free_page_reporting,
        },
    );
    (
        amount(),
        option::of(hotplug),
        option::of(prop::sample::select(HugePages::ALL)),
        any::<(bool, bool, bool, Option<bool>)>(),
        option::of(balloon),
        vec(zone, 0..3),
    )
        .prop_map(
            |(
                size,
                hotplug,
                hugepages,
                (shared, mergeable, prefault, transparent_hugepages),
                balloon,
                zones,
            )| {
                MemorySpec {
                    zones,
                    size,
                    hotplug,
                    hugepages,
                    shared,
                    mergeable,
                    prefault,
                    transparent_hugepages,
                    balloon,
                }
            },
        )
}

pub(super) fn stop_timeout() -> impl Strategy<Value = StopTimeout> {
    (1u32..=3600).prop_map(|seconds| StopTimeout::try_from(seconds).unwrap())
}

fn cloud_init() -> impl Strategy<Value = CloudInit> {
    let text = || option::of("[^\\x00]{1,20}".prop_map(|text| CloudText::try_from(text).unwrap()));
    let key = "ssh-ed25519 [A-Za-z0-9+/=]{1,20} [a-z]{1,5}".prop_map(|text| text.parse().unwrap());
    (text(), text(), text(), vec(key, 0..3)).prop_map(|(user_data, network_config, meta_data, ssh_keys)| {
        CloudInit {
            user_data,
            network_config,
            meta_data,
            ssh_keys,
        }
    })
}

fn restart() -> impl Strategy<Value = (Restart, StartPriority)> {
    let policy = prop::sample::select(RestartPolicy::ALL);
    let backoff = (option::of(within()), option::of(within()));
    let row = (option::of(within()), option::of(within()));
    (policy, backoff, row, -1000_i32..=1000).prop_map(
        |(policy, (backoff, max_backoff), (limit, reset_after), priority)| {
            let restart = Restart {
                policy,
                backoff,
                max_backoff,
                limit,
                reset_after,
            };
            (restart, StartPriority::try_from(priority).unwrap())
        },
    )
}

fn port() -> impl Strategy<Value = Port> {
    let word = prop::sample::select(vec![
        Port::Log,
        Port::Off,
        Port::Null,
        Port::Socket,
        Port::Pty,
        Port::Tty,
    ]);
    prop_oneof![word, path().prop_map(Port::File)]
}

type Attached = ((Port, Console, bool), Vec<Share>, Vec<Pmem>, Option<HostPath>);

fn attached() -> impl Strategy<Value = Attached> {
    let ports = (port(), port().prop_map(Console), any::<bool>());
    let segment = || option::of(within());
    let share = (
        "[a-zA-Z0-9._-]{1,36}",
        path(),
        option::of(queue_size()),
        segment(),
    )
        .prop_map(|(tag, socket, queue_size, pci_segment)| Share {
            tag: tag.parse().unwrap(),
            socket,
            queue_size,
            pci_segment,
        });
    let pmem = (device_id(), path(), amount(), any::<bool>(), segment()).prop_map(
        |(id, path, size, discard_writes, pci_segment)| Pmem {
            id,
            path,
            size,
            discard_writes,
            pci_segment,
        },
    );
    (ports, vec(share, 0..3), vec(pmem, 0..3), option::of(path()))
}

/// Any spec that can be written down; its fields need not go together.
pub(crate) fn spec() -> impl Strategy<Value = VmSpec> {
    (
        (cpu(), memory(), boot()),
        vec(disk(), 0..3),
        vec(nic(), 0..3),
        option::of(kind()),
        stop_timeout(),
        prop_oneof![Just(OnHostLoss::Stay), Just(OnHostLoss::Failover)],
        (prop::sample::select(RngSource::ALL), any::<bool>()),
        option::of(cloud_init()),
        (option::of(prop::sample::select(MachineType::ALL)), attached()),
        restart(),
    )
        .prop_map(
            |(
                (cpu, memory, boot),
                disks,
                nics,
                hypervisor,
                stop_timeout,
                on_host_loss,
                (rng, watchdog),
                cloud_init,
                (machine, ((serial, console, panic_device), shares, pmem, tpm)),
                (restart, start_priority),
            )| {
                VmSpec {
                    cpu,
                    memory,
                    boot,
                    disks,
                    nics,
                    hypervisor,
                    stop_timeout,
                    on_host_loss,
                    rng,
                    watchdog,
                    cloud_init,
                    machine,
                    restart,
                    start_priority,
                    serial,
                    console,
                    panic_device,
                    shares,
                    pmem,
                    tpm,
                }
            },
        )
}

pub(super) fn stop_how() -> impl Strategy<Value = StopHow> {
    prop_oneof![stop_timeout().prop_map(StopHow::Graceful), Just(StopHow::Hard)]
}

pub(crate) fn power() -> impl Strategy<Value = Power> {
    prop_oneof![
        Just(Power::Running),
        stop_how().prop_map(Power::Stopped),
        Just(Power::Deleted),
        Just(Power::Paused),
        (some_seq(), stop_how()).prop_map(|(order, how)| Power::Rebooting(Reboot { order, how })),
    ]
}

pub(super) fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map(".{0,8}", ".{0,8}", 0..4)
}

pub(super) fn capacity() -> impl Strategy<Value = Capacity> {
    (any::<u32>(), any::<u64>()).prop_map(|(vcpus, memory_mib)| Capacity { vcpus, memory_mib })
}

pub(crate) fn facts() -> impl Strategy<Value = HostFacts> {
    let hypervisor = (kind(), ".{0,8}").prop_map(|(kind, version)| HypervisorFacts { kind, version });
    (capacity(), vec(hypervisor, 0..4), ".{0,8}", vec(".{0,8}", 0..3)).prop_map(
        |(capacity, hypervisors, daemon, missing)| HostFacts {
            capacity,
            hypervisors,
            daemon,
            missing,
        },
    )
}
