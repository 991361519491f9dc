//! Making something else of a VM: what is refused, what is reserved meanwhile, and when it is so.

use chv_domain::spec::{FieldPath, OnHostLoss};
use chv_domain::*;

use crate::history::*;

fn change(cluster: &mut Cluster, spec: VmSpec) -> Result<Decided, Rejection> {
    let vm = named("web");
    cluster.send(
        "alice",
        Command::ChangeVm {
            vm,
            spec: spec.into(),
        },
    )
}

fn fields(fields: &[&str]) -> Vec<FieldPath> {
    let path = |field: &&str| (*field).to_owned().try_into().unwrap();
    fields.iter().map(path).collect()
}

fn applied(restart_needed: &[&str]) -> Observation {
    Observation::Applied {
        restart_needed: fields(restart_needed),
    }
}

fn reserved(cluster: &Cluster) -> Capacity {
    cluster.state.hosts_by_name().next().unwrap().reserved
}

#[test]
fn given_a_guest_that_runs_when_its_vm_is_changed_then_both_are_reserved_until_its_host_says_it_is_so() {
    let mut cluster = Cluster::with_hosts(1);
    let vm = cluster.running("web");
    let wide = |vcpus, memory_mib| Capacity { vcpus, memory_mib };
    assert_eq!(
        kinds(&change(&mut cluster, spec(4, 64)).unwrap()),
        ["spec-changed"]
    );
    assert_eq!(reserved(&cluster), wide(4, 128));
    // Part of it needs a new start: what it has is kept for it.
    let told = cluster.report(vm, applied(&["memory.size"])).unwrap();
    assert_eq!(kinds(&told), ["spec-applied"]);
    assert_eq!(
        cluster.state.vm(vm).unwrap().restart_needed(),
        fields(&["memory.size"])
    );
    assert_eq!(reserved(&cluster), wide(4, 128));
    assert_eq!(
        kinds(&cluster.report(vm, applied(&["memory.size"])).unwrap()),
        [""; 0]
    );
    // Ended and started anew, it is all of it.
    cluster
        .report(
            vm,
            Observation::Exited(ExitReason::Vanished, String::new(), Run::default()),
        )
        .unwrap();
    assert_eq!(reserved(&cluster), wide(4, 64));
    cluster.report(vm, started(8)).unwrap();
    assert_eq!(cluster.state.vm(vm).unwrap().unapplied(), None);
}

#[test]
fn given_a_change_while_it_is_being_started_then_it_is_open_after_the_start() {
    let mut cluster = Cluster::with_hosts(1);
    cluster.send("alice", create("web", spec(1, 128))).unwrap();
    let vm = cluster.state.resolve(&named("web")).unwrap().id;
    let before = cluster.state.vm(vm).unwrap().revision();
    change(&mut cluster, spec(2, 128)).unwrap();
    let epoch = cluster.state.vm(vm).unwrap().placement.unwrap().epoch;
    let observation = started(7);
    let mut report = cluster.submission(
        "host/h1",
        Command::ReportVm {
            vm,
            epoch,
            observation,
        },
    );
    report.follows = Some(before);
    cluster.submit(&report).unwrap();
    assert!(cluster.state.vm(vm).unwrap().unapplied().is_some());
    // What is said by a host that knows of the change counts, and nothing before.
    let observation = applied(&[]);
    let mut report = cluster.submission(
        "host/h1",
        Command::ReportVm {
            vm,
            epoch,
            observation,
        },
    );
    report.follows = Some(before);
    assert_eq!(kinds(&cluster.submit(&report).unwrap()), [""; 0]);
    assert_eq!(
        kinds(&cluster.report(vm, applied(&[])).unwrap()),
        ["spec-applied"]
    );
    assert_eq!(cluster.state.vm(vm).unwrap().unapplied(), None);
}

#[test]
fn given_a_change_that_cannot_be_then_it_is_refused_with_the_field_or_the_host() {
    let mut cluster = Cluster::with_hosts(2);
    cluster.running("web");
    let (code, message) = refused(change(&mut cluster, spec(9, 128)));
    assert_eq!(code, RejectionCode::NoHost);
    assert!(message.contains("8 vCPUs more asked, 7 free"), "{message}");
    let (code, message) = refused(change(&mut cluster, spec(1, 5000)));
    assert_eq!(code, RejectionCode::NoHost);
    assert!(message.contains("of memory more asked"), "{message}");

    let mut other = spec(1, 128);
    other.hypervisor = Some(HypervisorKind::Firecracker);
    let (code, message) = refused(change(&mut cluster, other));
    assert_eq!(code, RejectionCode::NoHost);
    assert!(message.contains("firecracker runs no guests there"), "{message}");

    let failover = VmSpec {
        on_host_loss: OnHostLoss::Failover,
        ..spec(1, 128)
    };
    let (code, message) = refused(change(&mut cluster, failover));
    assert_eq!(code, RejectionCode::State);
    assert!(
        message.contains("spec.onHostLoss") && message.contains("stop it first"),
        "{message}"
    );

    let mut twice = spec(1, 128);
    twice.cpu.max = Some(Vcpus::new(1).unwrap());
    twice.cpu.vcpus = Vcpus::new(2).unwrap();
    assert_eq!(refused(change(&mut cluster, twice)).0, RejectionCode::Invalid);
}

#[test]
fn given_the_spec_that_it_has_then_nothing_is_changed() {
    let mut cluster = Cluster::with_hosts(1);
    cluster.running("web");
    assert_eq!(kinds(&change(&mut cluster, spec(1, 128)).unwrap()), [""; 0]);
}

#[test]
fn fields_that_differ_are_named_as_people_write_them() {
    let read = |more: serde_json::Value| -> VmSpec {
        let mut spec = serde_json::json!({"cpu": 1, "memory": "128MiB", "boot": {"kernel": "k"}});
        spec.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        serde_json::from_value(spec).unwrap()
    };
    let disk =
        |id: &str, queues: u32| serde_json::json!({"id": id, "path": "d", "format": "raw", "queues": queues});
    let one = read(serde_json::json!({"disks": [disk("a", 1), disk("b", 1)]}));
    let other = read(serde_json::json!({
        "cpu": {"vcpus": 1, "max": 4}, "stopTimeout": 9, "disks": [disk("b", 2), disk("c", 1)],
    }));
    assert_eq!(
        one.differs_in(&other),
        fields(&[
            "cpu.max",
            "disks[a]",
            "disks[b].queues",
            "disks[c]",
            "stopTimeout"
        ])
    );
    assert_eq!(one.differs_in(&one), []);
    let turned = read(serde_json::json!({"disks": [disk("b", 1), disk("a", 1)]}));
    assert_eq!(one.differs_in(&turned), fields(&["disks"]));
}

#[test]
fn given_an_end_that_its_host_told_before_it_knew_of_a_change_then_the_change_is_open_still() {
    let mut cluster = Cluster::with_hosts(1);
    let vm = cluster.running("web");
    let knew = cluster.state.vm(vm).unwrap().revision();
    change(&mut cluster, spec(4, 64)).unwrap();
    let epoch = cluster.state.vm(vm).unwrap().placement.unwrap().epoch;
    for observation in [
        Observation::Exited(ExitReason::Vanished, String::new(), Run::default()),
        started(9),
    ] {
        let mut report = cluster.submission(
            "host/h1",
            Command::ReportVm {
                vm,
                epoch,
                observation,
            },
        );
        report.follows = Some(knew);
        cluster.submit(&report).unwrap();
    }
    assert!(cluster.state.vm(vm).unwrap().unapplied().is_some());
    cluster.report(vm, applied(&["memory.size"])).unwrap();
    assert_eq!(
        cluster.state.vm(vm).unwrap().restart_needed(),
        fields(&["memory.size"])
    );
}

#[test]
fn given_a_vm_that_seems_stopped_when_it_is_made_to_fail_over_then_it_does_only_after_its_hosts_word() {
    let mut cluster = Cluster::with_hosts(2);
    cluster.send("alice", create("web", spec(1, 128))).unwrap();
    let vm = cluster.state.resolve(&named("web")).unwrap().id;
    // Its host may have started it, and could not say so.
    cluster
        .send("alice", Command::KillVm { vm: named("web") })
        .unwrap();
    let failover = VmSpec {
        on_host_loss: OnHostLoss::Failover,
        ..spec(1, 128)
    };
    change(&mut cluster, failover).unwrap();
    cluster
        .send("alice", Command::StartVm { vm: named("web") })
        .unwrap();
    assert!(!cluster.state.vm(vm).unwrap().fails_over());
    // When its host says that nothing runs there, or that it was started since, then it does.
    cluster.report(vm, applied(&[])).unwrap();
    assert!(cluster.state.vm(vm).unwrap().fails_over());
    assert_eq!(reserved(&cluster).vcpus, 1);
}
