//! What hosts are told, and what is known of a VM.

use chv_domain::vm::{Aside, Ordered, Placement, Trouble};
use chv_domain::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::command::{exit_reason, fields, no_more};
use super::ids::{command_id, epoch, host_id, name, seq, some_seq, time, trace, vm_id};
use super::spec::{capacity, kind, labels, power, spec};

fn desired() -> impl Strategy<Value = DesiredVm> {
    (
        vm_id(),
        name(),
        name(),
        spec(),
        power(),
        epoch(),
        (seq(), seq()),
        option::of(trace()),
    )
        .prop_map(
            |(vm, project, name, spec, power, epoch, (revision, changed), trace)| DesiredVm {
                vm,
                project,
                name,
                spec: spec.into(),
                power,
                epoch,
                revision,
                changed,
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
        (kind(), any::<u32>(), time(), option::of(time()), any::<bool>()).prop_map(
            |(hypervisor, pid, since, ready, paused)| {
                Phase::Running {
                    hypervisor,
                    pid,
                    since,
                    ready,
                    paused,
                }
            }
        ),
        (exit_reason(), time()).prop_map(|(reason, since)| Phase::Stopped { reason, since }),
    ];
    let ordered =
        (command_id(), seq(), time(), option::of(trace())).prop_map(|(command, seq, time, trace)| Ordered {
            command,
            seq,
            time,
            trace: trace.map(Box::new),
        });
    let placement = (host_id(), epoch()).prop_map(|(host, epoch)| Placement { host, epoch });
    let unapplied = (seq(), option::of(fields()), capacity(), any::<bool>());
    let unapplied = unapplied.prop_map(|(order, restart_needed, before, unleased)| Unapplied {
        unleased,
        order,
        restart_needed,
        before,
    });
    let ended = (option::of(no_more()), option::of(time()));
    let aside = (labels(), any::<bool>(), seq(), option::of(unapplied), ended);
    let aside = aside.prop_map(
        |(annotations, protected, changed, unapplied, (stays, binned))| Aside {
            changed,
            unapplied,
            annotations,
            protected,
            stays,
            binned,
        },
    );
    let trouble = (".{1,20}", time()).prop_map(|(reason, since)| Trouble { reason, since });
    (
        (vm_id(), name(), name(), labels(), option::of(aside)),
        (spec(), power(), ordered),
        option::of(placement),
        phase,
        option::of(trouble),
        time(),
    )
        .prop_map(
            |(
                (id, project, name, labels, aside),
                (spec, power, ordered),
                placement,
                phase,
                trouble,
                created,
            )| Vm {
                id,
                project,
                name,
                labels,
                aside: aside.map(Box::new),
                spec: spec.into(),
                power,
                ordered,
                placement,
                phase,
                trouble: trouble.map(Box::new),
                created,
            },
        )
}
