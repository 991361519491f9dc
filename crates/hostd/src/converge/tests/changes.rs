//! Changes of what guests are, while they run.

use std::sync::Arc;

use chv_domain::spec::FieldPath;
use chv_domain::{DesiredVm, Observation, Power, Seq, Vcpus, VmSpec};

use super::rig::{Daemon, Rig, Trouble, desired};
use super::{started, started_pid};
use crate::converge::Wish;
use crate::plan::Change;

fn four() -> Vcpus {
    Vcpus::new(4).unwrap()
}

/// Wants the VM to run since the event `revision` as this spec says.
fn want(daemon: &Daemon, revision: u64, edit: impl FnOnce(&mut VmSpec)) {
    let vm = desired(Power::Running, 5, revision);
    let mut spec = VmSpec::clone(&vm.spec);
    edit(&mut spec);
    daemon.converge.wish(Wish::Vm(Arc::new(DesiredVm {
        spec: spec.into(),
        // It was created at 6.
        changed: Seq(if revision > 6 { revision } else { 0 }),
        ..vm
    })));
}

fn wide(spec: &mut VmSpec) {
    spec.cpu.max = Some(four());
}

fn applied(fields: &[&str]) -> Observation {
    let path = |field: &&str| -> FieldPath { (*field).to_owned().try_into().unwrap() };
    Observation::Applied {
        restart_needed: fields.iter().map(path).collect(),
    }
}

#[tokio::test]
async fn given_a_change_of_what_can_be_changed_and_what_cannot_then_each_is_done_or_told() {
    let rig = Rig::new();
    let mut daemon = rig.daemon().await;
    want(&daemon, 6, wide);
    started_pid(daemon.told().await);
    want(&daemon, 7, |spec| {
        wide(spec);
        spec.cpu.vcpus = four();
        spec.watchdog = true;
    });
    let (_, follows, told) = daemon.told_fully().await;
    assert_eq!((follows, told), (Some(Seq(7)), applied(&["watchdog"])));
    assert_eq!(*rig.fake.changes.lock().unwrap(), [Change::Vcpus(four())]);
    daemon.end().await;

    // What it is by now is known to the next daemon too, which tells it once more and does nothing.
    let mut daemon = rig.daemon().await;
    assert!(matches!(daemon.told().await, Observation::Adopted { .. }));
    want(&daemon, 7, |spec| {
        wide(spec);
        spec.cpu.vcpus = four();
        spec.watchdog = true;
    });
    assert_eq!(daemon.told().await, applied(&["watchdog"]));
    assert_eq!(rig.fake.changes.lock().unwrap().len(), 1);
    // Back to what it is, nothing needs a new start.
    want(&daemon, 8, |spec| {
        wide(spec);
        spec.cpu.vcpus = four();
    });
    assert_eq!(daemon.told().await, applied(&[]));
    daemon.end().await;
}

#[tokio::test]
async fn given_a_change_that_fails_then_it_is_tried_again_and_told_when_it_is_done() {
    let rig = Rig::new();
    let mut daemon = rig.daemon().await;
    want(&daemon, 6, wide);
    started_pid(daemon.told().await);
    let troubles = [Trouble::Fails, Trouble::Fails];
    rig.fake.troubles.lock().unwrap().extend(troubles);
    want(&daemon, 7, |spec| {
        wide(spec);
        spec.cpu.vcpus = four();
    });
    let told = daemon.told().await;
    assert!(
        matches!(&told, Observation::Blocked(why) if why.contains("its part")),
        "{told:?}"
    );
    assert_eq!(daemon.told().await, applied(&[]));
    assert_eq!(daemon.told().await, Observation::Unblocked);
    daemon.end().await;
}

#[tokio::test]
async fn given_a_vm_that_was_never_changed_then_nothing_is_told_of_it() {
    let rig = Rig::new();
    let mut daemon = rig.daemon().await;
    started(&mut daemon).await;
    daemon.want(Power::Paused, 7);
    assert_eq!(daemon.told().await, Observation::Paused);
    daemon.want(Power::Running, 8);
    assert_eq!(daemon.told().await, Observation::Resumed);
    assert!(daemon.told_nothing_more());
    daemon.end().await;
}
