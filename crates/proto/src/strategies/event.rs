//! Events, and their records.

use chv_domain::*;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::command::{aftermath, exit_reason, fields, forgotten, retention};
use super::ids::{
    actor, address, command_id, directory, epoch, host_id, name, replica, some_seq, time, trace, vm_id,
};
use super::spec::{facts, kind, labels, power, spec, stop_how};

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
                spec: spec.into(),
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
        (
            vm_id(),
            epoch(),
            kind(),
            any::<u32>(),
            any::<u64>(),
            any::<bool>()
        )
            .prop_map(
                |(vm, epoch, hypervisor, pid, uptime_ms, paused)| Event::VmAdopted {
                    vm,
                    epoch,
                    hypervisor,
                    pid,
                    uptime_ms,
                    paused
                }
            ),
        (vm_id(), epoch(), exit_reason(), ".{0,20}", aftermath()).prop_map(
            |(vm, epoch, reason, console, then)| {
                Event::VmExited {
                    vm,
                    epoch,
                    reason,
                    console,
                    then,
                }
            }
        ),
        (vm_id(), epoch(), ".{0,20}").prop_map(|(vm, epoch, reason)| Event::VmBlocked { vm, epoch, reason }),
        (vm_id(), epoch()).prop_map(|(vm, epoch)| Event::VmUnblocked { vm, epoch }),
        vm_id().prop_map(|vm| Event::VmDeleted { vm }),
        (vm_id(), time(), stop_how()).prop_map(|(vm, until, how)| Event::VmBinned { vm, until, how }),
        (vm_id(), name()).prop_map(|(vm, name)| Event::VmUndeleted { vm, name }),
        vm_id().prop_map(|vm| Event::VmPauseRequested { vm }),
        (vm_id(), name()).prop_map(|(vm, name)| Event::VmRenamed { vm, name }),
        (vm_id(), labels()).prop_map(|(vm, labels)| Event::VmLabelsChanged { vm, labels }),
        (vm_id(), labels()).prop_map(|(vm, annotations)| Event::VmAnnotationsChanged { vm, annotations }),
        (vm_id(), any::<bool>()).prop_map(|(vm, protected)| Event::VmProtectionChanged { vm, protected }),
        (vm_id(), spec()).prop_map(|(vm, spec)| Event::VmSpecChanged {
            vm,
            spec: spec.into()
        }),
        (vm_id(), epoch(), fields()).prop_map(|(vm, epoch, restart_needed)| Event::VmSpecApplied {
            vm,
            epoch,
            restart_needed
        }),
        vm_id().prop_map(|vm| Event::VmResumeRequested { vm }),
        (vm_id(), stop_how()).prop_map(|(vm, how)| Event::VmRebootRequested { vm, how }),
        (vm_id(), epoch()).prop_map(|(vm, epoch)| Event::VmPaused { vm, epoch }),
        (vm_id(), epoch()).prop_map(|(vm, epoch)| Event::VmResumed { vm, epoch }),
        (vm_id(), epoch(), option::of(some_seq())).prop_map(|(vm, epoch, order)| Event::VmRebooted {
            vm,
            epoch,
            order
        }),
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
