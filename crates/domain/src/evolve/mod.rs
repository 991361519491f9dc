//! The fold: one event changes the projection. Total: it can't fail, and reads no clock, no randomness.
//!
//! A new event kind gets its arm here and its work in the file of its noun.

mod cluster;
mod host;
mod vm;
mod vm_about;
mod vm_bin;
mod vm_change;

use crate::event::{Event, Resource};
use crate::projection::Projection;
use crate::record::Record;
use crate::seq::Seq;
use crate::vm::{Power, Reboot, StopHow};

/// Folds the event `seq` of `record` in. An event about something that isn't there changes nothing.
pub(crate) fn evolve(state: &mut Projection, record: &Record, seq: Seq, event: &Event) {
    if event.resource() == Resource::Cluster {
        state.cluster.revision = seq;
    }
    match event {
        Event::HostRegistered { host, name, facts } => {
            host::registered(state, record, seq, *host, name, facts)
        }
        Event::HostFactsChanged { host, facts } => host::facts_changed(state, seq, *host, facts),
        Event::HostCordoned { host } => host::cordoned(state, seq, *host, true),
        Event::HostUncordoned { host } => host::cordoned(state, seq, *host, false),
        Event::VmCreated {
            vm,
            project,
            name,
            labels,
            spec,
            power,
        } => {
            let identity = vm::Identity {
                id: *vm,
                project,
                name,
                labels,
            };
            vm::created(state, record, seq, identity, spec, *power);
        }
        Event::VmPlaced { vm, placed } => vm::placed(state, seq, *vm, placed.host),
        Event::VmStartRequested { vm } => vm::ordered(state, record, seq, *vm, Power::Running),
        Event::VmStopRequested { vm, how } => {
            vm::ordered(state, record, seq, *vm, Power::Stopped(*how));
        }
        Event::VmPauseRequested { vm } => vm::ordered(state, record, seq, *vm, Power::Paused),
        Event::VmResumeRequested { vm } => vm::ordered(state, record, seq, *vm, Power::Running),
        Event::VmRebootRequested { vm, how } => {
            let reboot = Reboot {
                order: seq,
                how: *how,
            };
            vm::ordered(state, record, seq, *vm, Power::Rebooting(reboot));
        }
        Event::VmDeleteRequested { vm } => {
            vm_bin::taken_out(state, *vm);
            vm::ordered(state, record, seq, *vm, Power::Deleted);
        }
        Event::VmBinned { vm, until, how } => {
            vm::ordered(state, record, seq, *vm, Power::Stopped(*how));
            vm_bin::binned(state, *vm, *until);
        }
        Event::VmUndeleted { vm, name } => {
            vm::ordered(state, record, seq, *vm, Power::Stopped(StopHow::Hard));
            vm_bin::undeleted(state, *vm, name);
        }
        Event::VmStarted {
            vm, hypervisor, pid, ..
        } => vm::running(state, record, seq, *vm, *hypervisor, *pid),
        Event::VmAdopted {
            vm,
            hypervisor,
            pid,
            paused,
            ..
        } => {
            vm::adopted(state, record, *vm, *hypervisor, *pid);
            vm::held(state, *vm, *paused);
        }
        Event::VmReady { vm, .. } => vm::ready(state, record, *vm),
        Event::VmExited { vm, reason, then, .. } => vm::exited(state, record, seq, *vm, (reason, *then)),
        Event::VmRenamed { vm, name } => vm_about::renamed(state, seq, *vm, name),
        Event::VmSpecChanged { vm, spec } => vm_change::changed(state, record, seq, *vm, spec),
        Event::VmSpecApplied {
            vm, restart_needed, ..
        } => vm_change::applied(state, *vm, restart_needed),
        Event::VmLabelsChanged { vm, labels } => vm_about::labelled(state, *vm, labels),
        Event::VmAnnotationsChanged { vm, annotations } => vm_about::annotated(state, *vm, annotations),
        Event::VmProtectionChanged { vm, protected } => vm_about::protected(state, *vm, *protected),
        Event::VmPaused { vm, .. } => vm::held(state, *vm, true),
        Event::VmResumed { vm, .. } => vm::held(state, *vm, false),
        Event::VmRebooted { vm, order, .. } => vm::rebooted(state, seq, *vm, *order),
        Event::VmBlocked { vm, reason, .. } => vm::blocked(state, record, *vm, Some(reason)),
        Event::VmUnblocked { vm, .. } => vm::blocked(state, record, *vm, None),
        Event::VmDeleted { vm } => vm::deleted(state, seq, *vm),
        Event::ClusterFormed { replicas } => cluster::formed(&mut state.cluster, record, replicas),
        Event::ReplicaAdded {
            replica,
            address,
            instead_of,
        } => cluster::added(&mut state.cluster, record, *replica, *address, *instead_of),
        Event::ReplicaJoined { replica } => cluster::joined(&mut state.cluster, record, *replica),
        Event::ReplicaRemoved { replica } => cluster::removed(&mut state.cluster, record, *replica),
        Event::ReplicaLeft { replica } => cluster::left(&mut state.cluster, *replica),
        Event::StepDownRequested { .. } => cluster::step_down(&mut state.cluster, record),
        Event::RetentionSet { retention } => state.cluster.retention = *retention,
        Event::HistoryForgotten { forgotten } => cluster::forgotten(&mut state.cluster, *forgotten),
        Event::ReplicaIntroduced { replica, directory } => {
            cluster::introduced(&mut state.cluster, *replica, *directory);
        }
        Event::FormatRaised { format } => cluster::format_raised(&mut state.cluster, *format),
    }
}
