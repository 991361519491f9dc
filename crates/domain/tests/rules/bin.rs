//! VMs that are deleted and can be undeleted.

use std::time::Duration;

use chv_domain::*;

use crate::history::*;

fn delete(keep: Option<u32>) -> Command {
    Command::DeleteVm {
        vm: named("web"),
        force: true,
        keep: keep.map(|seconds| KeepFor::from_seconds(seconds).unwrap()),
    }
}

fn undelete(name: Option<&str>) -> Command {
    Command::UndeleteVm {
        vm: named("web"),
        name: name.map(|name| name.parse().unwrap()),
    }
}

#[test]
fn a_deleted_vm_gives_its_name_up_keeps_its_place_and_comes_back_stopped() {
    let mut cluster = Cluster::with_hosts(1);
    let vm = cluster.running("web");
    let of = |cluster: &Cluster| Vm::clone(cluster.state.vm(vm).unwrap());
    let reserved = |cluster: &Cluster| cluster.state.hosts_by_name().next().unwrap().reserved;
    let before = reserved(&cluster);

    assert_eq!(
        kinds(&cluster.send("alice", delete(Some(60))).unwrap()),
        ["binned"]
    );
    let deleted = of(&cluster);
    assert_eq!(deleted.status(), Status::Deleted);
    assert_eq!(deleted.power, Power::Stopped(StopHow::Hard), "its host ends it");
    assert_eq!(reserved(&cluster), before);
    assert!(cluster.state.vms_by_name(None).next().is_none());
    assert_eq!(cluster.state.binned().map(|vm| vm.id).collect::<Vec<_>>(), [vm]);
    // It is found by its name while no other has it, and takes no orders.
    let (code, why) = refused(cluster.send("alice", Command::StartVm { vm: named("web") }));
    assert_eq!(code, RejectionCode::State);
    assert!(why.contains("undelete it first"), "{why}");

    // Another one may have its name; then it comes back under another.
    cluster.send("bob", create("web", spec(1, 128))).unwrap();
    let by_id = |name: Option<&str>| Command::UndeleteVm {
        vm: VmRef::Id(vm),
        name: name.map(|name| name.parse().unwrap()),
    };
    assert_eq!(
        refused(cluster.send("alice", by_id(None))).0,
        RejectionCode::Exists
    );
    assert_eq!(
        kinds(&cluster.send("alice", by_id(Some("old"))).unwrap()),
        ["undeleted"]
    );
    let back = of(&cluster);
    assert_eq!((back.name.to_string(), back.binned()), ("old".to_owned(), None));
    assert!(cluster.state.binned().next().is_none());
    assert_eq!(invariants::violations(&cluster.state), Vec::<String>::new());
}

#[test]
fn a_deleted_vm_is_removed_when_its_time_is_over_and_not_before_and_only_the_leader_says_so() {
    let mut cluster = Cluster::with_hosts(1);
    let vm = cluster.running("web");
    cluster.send("alice", delete(Some(60))).unwrap();
    let purge = Command::PurgeVm { vm };
    assert_eq!(
        refused(cluster.send("alice", purge.clone())).0,
        RejectionCode::NotPermitted
    );
    assert_eq!(kinds(&cluster.send("replica/1", purge.clone()).unwrap()), [""; 0]);

    cluster.now = cluster.now.plus(Duration::from_secs(60));
    assert_eq!(
        kinds(&cluster.send("replica/1", purge.clone()).unwrap()),
        ["delete-requested"]
    );
    assert_eq!(cluster.state.vm(vm).unwrap().status(), Status::Deleting);
    assert!(cluster.state.binned().next().is_none());
    assert_eq!(
        refused(cluster.send("alice", undelete(None))).0,
        RejectionCode::NotFound
    );
    cluster.report(vm, Observation::Removed).unwrap();
    assert!(cluster.state.vm(vm).is_none());
    assert_eq!(invariants::violations(&cluster.state), Vec::<String>::new());
}

#[test]
fn what_is_deleted_can_be_removed_at_once() {
    let mut cluster = Cluster::with_hosts(1);
    let vm = cluster.running("web");
    cluster.send("alice", delete(Some(60))).unwrap();
    assert_eq!(
        kinds(&cluster.send("alice", delete(None)).unwrap()),
        ["delete-requested"]
    );
    assert_eq!(cluster.state.vm(vm).unwrap().status(), Status::Deleting);
}

#[test]
fn a_vm_is_annotated_and_protected_from_the_start_in_one_record() {
    let mut cluster = Cluster::with_hosts(1);
    let Command::CreateVm {
        project,
        name,
        labels,
        spec,
        start,
        ..
    } = create("web", spec(1, 128))
    else {
        unreachable!("that is what it makes")
    };
    let asked = Command::CreateVm {
        project,
        name,
        labels,
        annotations: [("contact".to_owned(), "ops".to_owned())].into(),
        protected: true,
        spec,
        start,
    };
    let created = cluster.send("alice", asked).unwrap();
    assert_eq!(
        kinds(&created),
        ["created", "placed", "annotations-changed", "protection-changed"]
    );
    let vm = cluster.state.resolve(&named("web")).unwrap();
    assert!(vm.is_protected() && vm.aside().annotations["contact"] == "ops");
}
