//! What VMs ask for and should do, and what hosts have.

use std::collections::BTreeMap;

use chv_domain::spec::{
    Boot, Cmdline, Disk, DiskFormat, HostPath, IfName, MacAddress, Nic, NicBackend, OnHostLoss, StopTimeout,
};
use chv_domain::*;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::ids::vm_id;

pub(super) fn kind() -> impl Strategy<Value = HypervisorKind> {
    prop::sample::select(HypervisorKind::ALL.to_vec())
}

fn path() -> impl Strategy<Value = HostPath> {
    "/?[a-zA-Z0-9._é-]{1,8}(/[a-zA-Z0-9_-]{1,8}){0,3}"
        .prop_filter_map("climbs out", |text| HostPath::try_from(text).ok())
}

fn boot() -> impl Strategy<Value = Boot> {
    (path(), option::of(path()), "[ -~]{0,40}").prop_map(|(kernel, initramfs, cmdline)| Boot {
        kernel,
        initramfs,
        cmdline: Cmdline::try_from(cmdline).unwrap(),
    })
}

fn disk() -> impl Strategy<Value = Disk> {
    let format = prop_oneof![Just(DiskFormat::Raw), Just(DiskFormat::Qcow2)];
    (path(), format, any::<bool>()).prop_map(|(path, format, read_only)| Disk {
        path,
        format,
        read_only,
    })
}

fn nic() -> impl Strategy<Value = Nic> {
    let backend = prop_oneof![
        Just(NicBackend::User),
        "[a-zA-Z0-9_-]{1,15}".prop_map(|text| NicBackend::Tap(IfName::try_from(text).unwrap())),
    ];
    (backend, option::of(vm_id().prop_map(MacAddress::of))).prop_map(|(backend, mac)| Nic { backend, mac })
}

pub(super) fn stop_timeout() -> impl Strategy<Value = StopTimeout> {
    (1u32..=3600).prop_map(|seconds| StopTimeout::try_from(seconds).unwrap())
}

pub(crate) fn spec() -> impl Strategy<Value = VmSpec> {
    (
        (1u32.., 1u32..),
        boot(),
        option::of(disk()),
        option::of(nic()),
        option::of(kind()),
        stop_timeout(),
        prop_oneof![Just(OnHostLoss::Stay), Just(OnHostLoss::Failover)],
    )
        .prop_map(
            |((vcpus, memory), boot, disk, nic, hypervisor, stop_timeout, on_host_loss)| VmSpec {
                vcpus: Vcpus::new(vcpus).unwrap(),
                memory: Memory::from_mib(memory).unwrap(),
                boot,
                disk,
                nic,
                hypervisor,
                stop_timeout,
                on_host_loss,
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
        Just(Power::Deleted)
    ]
}

pub(super) fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map(".{0,8}", ".{0,8}", 0..4)
}

fn capacity() -> impl Strategy<Value = Capacity> {
    (any::<u32>(), any::<u64>()).prop_map(|(vcpus, memory_mib)| Capacity { vcpus, memory_mib })
}

pub(crate) fn facts() -> impl Strategy<Value = HostFacts> {
    let hypervisor = (kind(), ".{0,8}").prop_map(|(kind, version)| HypervisorFacts { kind, version });
    (capacity(), vec(hypervisor, 0..4), ".{0,8}").prop_map(|(capacity, hypervisors, daemon)| HostFacts {
        capacity,
        hypervisors,
        daemon,
    })
}
