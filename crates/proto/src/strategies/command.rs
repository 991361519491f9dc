//! Commands, and what they say.

use chv_domain::spec::FieldPath;
use chv_domain::*;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use super::ids::{
    actor, address, command_id, directory, epoch, host_id, name, replica, seq, some_seq, time, trace, vm_id,
};
use super::spec::{facts, kind, labels, spec, stop_timeout};

pub(crate) fn vm_ref() -> impl Strategy<Value = VmRef> {
    prop_oneof![
        vm_id().prop_map(VmRef::Id),
        (name(), name()).prop_map(|(project, name)| VmRef::Name(project, name)),
    ]
}

pub(super) fn exit_reason() -> impl Strategy<Value = ExitReason> {
    prop_oneof![
        Just(ExitReason::PoweredOff),
        Just(ExitReason::Killed),
        Just(ExitReason::StopTimedOut),
        ".{0,20}".prop_map(ExitReason::Crashed),
        Just(ExitReason::Vanished),
        Just(ExitReason::LeaseEnded),
        Just(ExitReason::PoweredOffItself),
        ".{0,20}".prop_map(ExitReason::Panicked),
        Just(ExitReason::OutOfMemory),
    ]
}

pub(super) fn fields() -> impl Strategy<Value = Vec<FieldPath>> {
    let field = "[a-z][A-Za-z0-9.]{0,12}".prop_map(|path| path.try_into().expect("letters, digits and dots"));
    vec(field, 0..4)
}

pub(super) fn no_more() -> impl Strategy<Value = NoMore> {
    prop_oneof![
        Just(NoMore::Never),
        Just(NoMore::NoFailure),
        any::<u32>().prop_map(NoMore::Limit),
    ]
}

pub(super) fn aftermath() -> impl Strategy<Value = Aftermath> {
    prop_oneof![
        Just(Aftermath::AsOrdered),
        any::<u32>().prop_map(Aftermath::Again),
        no_more().prop_map(Aftermath::Stays),
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
        (kind(), any::<u32>(), any::<u64>(), any::<bool>()).prop_map(
            |(hypervisor, pid, uptime_ms, paused)| Observation::Adopted {
                hypervisor,
                pid,
                uptime_ms,
                paused
            }
        ),
        (exit_reason(), ".{0,20}", (seq(), any::<u64>(), any::<u32>())).prop_map(
            |(reason, console, (order, ran_ms, restarts))| {
                let run = Run {
                    order,
                    ran_ms,
                    restarts,
                };
                Observation::Exited(reason, console, run)
            }
        ),
        ".{0,20}".prop_map(Observation::Blocked),
        Just(Observation::Unblocked),
        Just(Observation::Removed),
        Just(Observation::Paused),
        Just(Observation::Resumed),
        option::of(some_seq()).prop_map(|order| Observation::Rebooted { order }),
        fields().prop_map(|restart_needed| Observation::Applied { restart_needed }),
    ]
}

pub(super) fn retention() -> impl Strategy<Value = Retention> {
    (any::<u32>(), any::<u64>()).prop_map(|(seconds, bytes)| Retention {
        keep_for: KeepFor::from_seconds(seconds).ok(),
        keep_size: KeepSize::from_bytes(bytes).ok(),
    })
}

pub(super) fn forgotten() -> impl Strategy<Value = Forgotten> {
    (seq(), any::<u64>()).prop_map(|(upto, at)| Forgotten {
        upto,
        kept_from: Timestamp(at),
    })
}

fn introduction() -> impl Strategy<Value = Introduction> {
    (directory(), any::<u32>()).prop_map(|(directory, format)| Introduction { directory, format })
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

fn texts() -> impl Strategy<Value = TextsChange> {
    (labels(), btree_set(".{0,8}", 0..3)).prop_map(|(set, remove)| TextsChange { set, remove })
}

fn vm_or_host_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        (
            name(),
            name(),
            (labels(), labels()),
            spec(),
            any::<(bool, bool)>()
        )
            .prop_map(
                |(project, name, (labels, annotations), spec, (protected, start))| Command::CreateVm {
                    project,
                    name,
                    labels,
                    annotations,
                    protected,
                    spec: spec.into(),
                    start,
                }
            ),
        vm_ref().prop_map(|vm| Command::StartVm { vm }),
        (vm_id(), epoch()).prop_map(|(vm, epoch)| Command::FailOverVm { vm, epoch }),
        (vm_ref(), option::of(stop_timeout())).prop_map(|(vm, timeout)| Command::StopVm { vm, timeout }),
        vm_ref().prop_map(|vm| Command::KillVm { vm }),
        vm_ref().prop_map(|vm| Command::PauseVm { vm }),
        (vm_ref(), name()).prop_map(|(vm, name)| Command::RenameVm { vm, name }),
        (vm_ref(), texts()).prop_map(|(vm, change)| Command::LabelVm { vm, change }),
        (vm_ref(), texts()).prop_map(|(vm, change)| Command::AnnotateVm { vm, change }),
        (vm_ref(), any::<bool>()).prop_map(|(vm, protected)| Command::ProtectVm { vm, protected }),
        (vm_ref(), spec()).prop_map(|(vm, spec)| Command::ChangeVm {
            vm,
            spec: spec.into()
        }),
        vm_ref().prop_map(|vm| Command::ResumeVm { vm }),
        (vm_ref(), option::of(stop_timeout())).prop_map(|(vm, timeout)| Command::RebootVm { vm, timeout }),
        vm_ref().prop_map(|vm| Command::ResetVm { vm }),
        (vm_ref(), any::<bool>(), option::of(1_u32..)).prop_map(|(vm, force, keep)| {
            let keep = keep.map(|seconds| KeepFor::from_seconds(seconds).unwrap());
            Command::DeleteVm { vm, force, keep }
        }),
        (vm_ref(), option::of(name())).prop_map(|(vm, name)| Command::UndeleteVm { vm, name }),
        vm_id().prop_map(|vm| Command::PurgeVm { vm }),
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
