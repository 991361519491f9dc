//! Arbitrary domain values for the property tests of this crate.

#![allow(clippy::unwrap_used)] // tests only: a panic is their failure

use std::collections::BTreeMap;
use std::net::SocketAddr;

use chv_domain::spec::{
    Boot, Cmdline, Disk, DiskFormat, HostPath, IfName, MacAddress, Nic, NicBackend, OnHostLoss, StopTimeout,
};
use chv_domain::vm::{Ordered, Placement, Trouble};
use chv_domain::*;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;

/// A DNS label as any of the name types.
pub(crate) fn name<T: std::str::FromStr<Err: std::fmt::Debug> + std::fmt::Debug>() -> impl Strategy<Value = T>
{
    "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?".prop_map(|text| text.parse().unwrap())
}

/// An id of any kind.
pub(crate) fn id<T: std::fmt::Debug>(from: fn([u8; 16]) -> T) -> impl Strategy<Value = T> {
    any::<[u8; 16]>().prop_map(from)
}

fn vm_id() -> impl Strategy<Value = VmId> {
    id(VmId::from_bytes)
}

fn host_id() -> impl Strategy<Value = HostId> {
    id(HostId::from_bytes)
}

fn command_id() -> impl Strategy<Value = CommandId> {
    id(CommandId::from_bytes)
}

fn replica() -> impl Strategy<Value = ReplicaId> {
    (1..=u64::MAX).prop_map(|number| ReplicaId::new(number).unwrap())
}

fn address() -> impl Strategy<Value = SocketAddr> {
    // IPv6 scopes and flow labels are no part of an address's text.
    (any::<std::net::IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

fn seq() -> impl Strategy<Value = Seq> {
    any::<u64>().prop_map(Seq)
}

/// A number that stands for an event: zero is none on the wire.
fn some_seq() -> impl Strategy<Value = Seq> {
    (1..=u64::MAX).prop_map(Seq)
}

fn epoch() -> impl Strategy<Value = Epoch> {
    seq().prop_map(Epoch)
}

fn time() -> impl Strategy<Value = Timestamp> {
    (1..=u64::MAX).prop_map(Timestamp)
}

pub(crate) fn trace() -> impl Strategy<Value = TraceContext> {
    (1..=u128::MAX, 1..=u64::MAX, any::<bool>()).prop_map(|(trace, span, sampled)| TraceContext {
        trace_id: trace.to_be_bytes(),
        span_id: span.to_be_bytes(),
        sampled,
    })
}

pub(crate) fn actor() -> impl Strategy<Value = Actor> {
    prop_oneof![
        name().prop_map(Actor::User),
        name().prop_map(Actor::Host),
        replica().prop_map(Actor::Replica)
    ]
}

fn kind() -> impl Strategy<Value = HypervisorKind> {
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

fn stop_timeout() -> impl Strategy<Value = StopTimeout> {
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

fn stop_how() -> impl Strategy<Value = StopHow> {
    prop_oneof![stop_timeout().prop_map(StopHow::Graceful), Just(StopHow::Hard)]
}

pub(crate) fn power() -> impl Strategy<Value = Power> {
    prop_oneof![
        Just(Power::Running),
        stop_how().prop_map(Power::Stopped),
        Just(Power::Deleted)
    ]
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map(".{0,8}", ".{0,8}", 0..4)
}

pub(crate) fn vm_ref() -> impl Strategy<Value = VmRef> {
    prop_oneof![
        vm_id().prop_map(VmRef::Id),
        (name(), name()).prop_map(|(project, name)| VmRef::Name(project, name)),
    ]
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

fn exit_reason() -> impl Strategy<Value = ExitReason> {
    prop_oneof![
        Just(ExitReason::PoweredOff),
        Just(ExitReason::Killed),
        Just(ExitReason::StopTimedOut),
        ".{0,20}".prop_map(ExitReason::Crashed),
        Just(ExitReason::Vanished),
        Just(ExitReason::LeaseEnded),
    ]
}

fn observation() -> impl Strategy<Value = Observation> {
    prop_oneof![
        (kind(), any::<u32>(), any::<u64>()).prop_map(|(hypervisor, pid, took_us)| Observation::Started {
            hypervisor,
            pid,
            took_us
        }),
        Just(Observation::Ready),
        (kind(), any::<u32>(), any::<u64>()).prop_map(|(hypervisor, pid, uptime_ms)| Observation::Adopted {
            hypervisor,
            pid,
            uptime_ms
        }),
        exit_reason().prop_map(Observation::Exited),
        ".{0,20}".prop_map(Observation::Blocked),
        Just(Observation::Unblocked),
        Just(Observation::Removed),
    ]
}

fn retention() -> impl Strategy<Value = Retention> {
    (any::<u32>(), any::<u64>()).prop_map(|(seconds, bytes)| Retention {
        keep_for: KeepFor::from_seconds(seconds).ok(),
        keep_size: KeepSize::from_bytes(bytes).ok(),
    })
}

fn forgotten() -> impl Strategy<Value = Forgotten> {
    (seq(), any::<u64>()).prop_map(|(upto, at)| Forgotten {
        upto,
        kept_from: Timestamp(at),
    })
}

fn introduction() -> impl Strategy<Value = Introduction> {
    (directory(), any::<u32>()).prop_map(|(directory, format)| Introduction { directory, format })
}

fn directory() -> impl Strategy<Value = DirectoryId> {
    any::<[u8; 16]>().prop_map(DirectoryId::from_bytes)
}

fn cluster_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        (replica(), address()).prop_map(|(replica, address)| Command::AddReplica { replica, address }),
        replica().prop_map(|replica| Command::RemoveReplica { replica }),
        (replica(), replica(), address()).prop_map(|(old, new, address)| Command::ReplaceReplica {
            old,
            new,
            address
        }),
        Just(Command::StepDown),
        (btree_map(replica(), address(), 0..4), btree_set(replica(), 0..4))
            .prop_map(|(voters, learners)| Command::ReportReplicas { voters, learners }),
        retention().prop_map(|retention| Command::SetRetention { retention }),
        forgotten().prop_map(|forgotten| Command::ForgetHistory { forgotten }),
        btree_map(replica(), introduction(), 0..4)
            .prop_map(|introduced| Command::IntroduceReplicas { introduced }),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![cluster_command(), vm_or_host_command()]
}

fn vm_or_host_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        (name(), name(), labels(), spec(), any::<bool>()).prop_map(|(project, name, labels, spec, start)| {
            Command::CreateVm {
                project,
                name,
                labels,
                spec: Box::new(spec),
                start,
            }
        }),
        vm_ref().prop_map(|vm| Command::StartVm { vm }),
        (vm_id(), epoch()).prop_map(|(vm, epoch)| Command::FailOverVm { vm, epoch }),
        (vm_ref(), option::of(stop_timeout())).prop_map(|(vm, timeout)| Command::StopVm { vm, timeout }),
        vm_ref().prop_map(|vm| Command::KillVm { vm }),
        (vm_ref(), any::<bool>()).prop_map(|(vm, force)| Command::DeleteVm { vm, force }),
        (host_id(), facts()).prop_map(|(host, facts)| Command::RegisterHost { host, facts }),
        name().prop_map(|host| Command::CordonHost { host }),
        name().prop_map(|host| Command::UncordonHost { host }),
        (vm_id(), epoch(), observation()).prop_map(|(vm, epoch, observation)| Command::ReportVm {
            vm,
            epoch,
            observation
        }),
    ]
}

pub(crate) fn submission() -> impl Strategy<Value = Submission> {
    (
        command_id(),
        actor(),
        command(),
        option::of(seq()),
        option::of(time()),
        option::of(trace()),
        option::of(some_seq()),
    )
        .prop_map(
            |(id, actor, command, expected, deadline, trace, follows)| Submission {
                id,
                actor,
                command,
                expected,
                deadline,
                trace,
                follows,
            },
        )
}

fn verdict() -> impl Strategy<Value = Verdict> {
    let refusal = prop_oneof![
        Just(Refusal::NotAlive),
        Just(Refusal::Cordoned),
        (any::<u32>(), any::<u32>()).prop_map(|(asked, free)| Refusal::Vcpus { asked, free }),
        (any::<u64>(), any::<u64>())
            .prop_map(|(asked_mib, free_mib)| Refusal::Memory { asked_mib, free_mib }),
        ".{0,20}".prop_map(Refusal::Hypervisor),
    ];
    let finding = prop_oneof![(0u32..=1000).prop_map(Ok), refusal.prop_map(Err)];
    (name(), finding).prop_map(|(host, finding)| Verdict { host, finding })
}

fn placed() -> impl Strategy<Value = Placed> {
    (host_id(), name(), vec(verdict(), 0..5), any::<u32>()).prop_map(|(host, name, verdicts, others)| {
        Placed {
            host,
            name,
            verdicts,
            others,
        }
    })
}

fn host_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (host_id(), name(), facts()).prop_map(|(host, name, facts)| Event::HostRegistered {
            host,
            name,
            facts
        }),
        (host_id(), facts()).prop_map(|(host, facts)| Event::HostFactsChanged { host, facts }),
        host_id().prop_map(|host| Event::HostCordoned { host }),
        host_id().prop_map(|host| Event::HostUncordoned { host }),
    ]
}

fn cluster_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        btree_map(replica(), address(), 0..4).prop_map(|replicas| Event::ClusterFormed { replicas }),
        (replica(), address(), option::of(replica())).prop_map(|(replica, address, instead_of)| {
            Event::ReplicaAdded {
                replica,
                address,
                instead_of,
            }
        }),
        replica().prop_map(|replica| Event::ReplicaJoined { replica }),
        replica().prop_map(|replica| Event::ReplicaRemoved { replica }),
        replica().prop_map(|replica| Event::ReplicaLeft { replica }),
        replica().prop_map(|leader| Event::StepDownRequested { leader }),
        retention().prop_map(|retention| Event::RetentionSet { retention }),
        forgotten().prop_map(|forgotten| Event::HistoryForgotten { forgotten }),
        (replica(), directory())
            .prop_map(|(replica, directory)| Event::ReplicaIntroduced { replica, directory }),
        any::<u32>().prop_map(|format| Event::FormatRaised { format }),
    ]
}

fn vm_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (vm_id(), name(), name(), labels(), spec(), power()).prop_map(
            |(vm, project, name, labels, spec, power)| Event::VmCreated {
                vm,
                project,
                name,
                labels,
                spec,
                power
            }
        ),
        (vm_id(), placed()).prop_map(|(vm, placed)| Event::VmPlaced { vm, placed }),
        vm_id().prop_map(|vm| Event::VmStartRequested { vm }),
        (vm_id(), stop_how()).prop_map(|(vm, how)| Event::VmStopRequested { vm, how }),
        vm_id().prop_map(|vm| Event::VmDeleteRequested { vm }),
        (vm_id(), epoch(), kind(), any::<u32>(), any::<u64>()).prop_map(
            |(vm, epoch, hypervisor, pid, took_us)| Event::VmStarted {
                vm,
                epoch,
                hypervisor,
                pid,
                took_us
            }
        ),
        (vm_id(), epoch()).prop_map(|(vm, epoch)| Event::VmReady { vm, epoch }),
        (vm_id(), epoch(), kind(), any::<u32>(), any::<u64>()).prop_map(
            |(vm, epoch, hypervisor, pid, uptime_ms)| Event::VmAdopted {
                vm,
                epoch,
                hypervisor,
                pid,
                uptime_ms
            }
        ),
        (vm_id(), epoch(), exit_reason()).prop_map(|(vm, epoch, reason)| Event::VmExited {
            vm,
            epoch,
            reason
        }),
        (vm_id(), epoch(), ".{0,20}").prop_map(|(vm, epoch, reason)| Event::VmBlocked { vm, epoch, reason }),
        (vm_id(), epoch()).prop_map(|(vm, epoch)| Event::VmUnblocked { vm, epoch }),
        vm_id().prop_map(|vm| Event::VmDeleted { vm }),
    ]
}

pub(crate) fn event() -> impl Strategy<Value = Event> {
    prop_oneof![cluster_event(), host_event(), vm_event()]
}

pub(crate) fn record() -> impl Strategy<Value = Record> {
    let cause = (
        command_id(),
        prop::sample::select(Verb::ALL.to_vec()),
        option::of(some_seq()),
    )
        .prop_map(|(command, verb, follows)| Cause {
            command,
            verb,
            follows,
        });
    (
        (1..u64::MAX / 2).prop_map(Seq),
        any::<u64>().prop_map(Term),
        time(),
        actor(),
        cause,
        option::of(trace()),
        any::<[u8; 32]>().prop_map(RecordHash),
        vec(event(), 1..4),
    )
        .prop_map(|(first, term, time, actor, cause, trace, prev, events)| {
            Record::new(RecordBody {
                first,
                term,
                time,
                actor,
                cause,
                trace,
                prev,
                events,
            })
        })
}

pub(crate) fn desired() -> impl Strategy<Value = DesiredVm> {
    (
        vm_id(),
        name(),
        name(),
        spec(),
        power(),
        epoch(),
        seq(),
        option::of(trace()),
    )
        .prop_map(
            |(vm, project, name, spec, power, epoch, revision, trace)| DesiredVm {
                vm,
                project,
                name,
                spec,
                power,
                epoch,
                revision,
                trace,
            },
        )
}

pub(crate) fn slice_page() -> impl Strategy<Value = crate::convert::SlicePage> {
    (host_id(), seq(), vec(desired(), 0..3), any::<bool>()).prop_map(|(host, feed, vms, more)| {
        crate::convert::SlicePage {
            slice: HostSlice { host, feed, vms },
            more,
        }
    })
}

pub(crate) fn delta() -> impl Strategy<Value = crate::convert::FeedDelta> {
    (
        host_id(),
        option::of(some_seq()),
        seq(),
        vec(desired(), 0..3),
        vec(vm_id(), 0..3),
    )
        .prop_map(|(host, prev, feed, vms, gone)| crate::convert::FeedDelta {
            host,
            prev,
            feed,
            vms,
            gone,
        })
}

pub(crate) fn vm() -> impl Strategy<Value = Vm> {
    let phase = prop_oneof![
        Just(Phase::Created),
        (kind(), any::<u32>(), time(), option::of(time())).prop_map(|(hypervisor, pid, since, ready)| {
            Phase::Running {
                hypervisor,
                pid,
                since,
                ready,
            }
        }),
        (exit_reason(), time()).prop_map(|(reason, since)| Phase::Stopped { reason, since }),
    ];
    let ordered =
        (command_id(), seq(), time(), option::of(trace())).prop_map(|(command, seq, time, trace)| Ordered {
            command,
            seq,
            time,
            trace,
        });
    let placement = (host_id(), epoch()).prop_map(|(host, epoch)| Placement { host, epoch });
    let trouble = (".{1,20}", time()).prop_map(|(reason, since)| Trouble { reason, since });
    (
        (vm_id(), name(), name(), labels()),
        (spec(), power(), ordered),
        option::of(placement),
        phase,
        option::of(trouble),
        time(),
    )
        .prop_map(
            |((id, project, name, labels), (spec, power, ordered), placement, phase, trouble, created)| Vm {
                id,
                project,
                name,
                labels,
                spec,
                power,
                ordered,
                placement,
                phase,
                trouble,
                created,
            },
        )
}
