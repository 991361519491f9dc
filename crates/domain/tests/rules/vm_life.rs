//! A VM from its creation to its end: single rules, each as given, when, then.

use chv_domain::*;

use crate::history::*;

#[test]
fn a_created_vm_is_placed_in_the_same_record_with_the_reason() {
    let mut cluster = Cluster::with_hosts(2);
    let decided = cluster.send("alice", create("web", spec(1, 128))).unwrap();
    assert_eq!(kinds(&decided), ["created", "placed"]);
    let Decided::Record(record) = decided else {
        panic!()
    };
    let Event::VmPlaced { placed, .. } = &record.events[1] else {
        panic!()
    };
    assert_eq!(placed.verdicts.len(), 2);
    let vm = cluster.state.resolve(&named("web")).unwrap();
    assert_eq!(vm.placement.unwrap().epoch, Epoch(record.last()));
    assert_eq!(vm.status(), Status::Starting);
}

#[test]
fn vms_spread_over_equal_hosts() {
    let mut cluster = Cluster::with_hosts(2);
    for name in ["a", "b", "c", "d"] {
        cluster.send("alice", create(name, spec(1, 128))).unwrap();
    }
    let counts: Vec<_> = cluster.state.hosts_by_name().map(|host| host.vms.len()).collect();
    assert_eq!(counts, [2, 2]);
}

#[test]
fn vms_made_alike_one_after_the_other_hold_their_spec_once() {
    let mut cluster = Cluster::with_hosts(1);
    for (name, memory) in [("a", 128), ("b", 128), ("c", 64)] {
        cluster.send("alice", create(name, spec(1, memory))).unwrap();
    }
    let spec = |name| &cluster.state.resolve(&named(name)).unwrap().spec;
    assert!(std::sync::Arc::ptr_eq(spec("a"), spec("b")));
    assert_eq!(spec("c").memory.size.mib(), 64);
}

#[test]
fn a_taken_name_is_refused_and_changes_nothing() {
    let mut cluster = Cluster::with_hosts(1);
    cluster.send("alice", create("web", spec(1, 128))).unwrap();
    let before = cluster.state.digest();
    let (code, message) = refused(cluster.send("bob", create("web", spec(1, 128))));
    assert_eq!(code, RejectionCode::Exists);
    assert!(
        message.contains("web") && message.contains("another name"),
        "{message}"
    );
    assert_eq!(cluster.state.digest(), before);
}

#[test]
fn more_than_any_host_has_is_refused_with_each_hosts_reason() {
    let mut cluster = Cluster::with_hosts(3);
    cluster
        .send(
            "carol",
            Command::CordonHost {
                host: "h2".parse().unwrap(),
            },
        )
        .unwrap();
    cluster.alive.remove(&host_id(3));
    let (code, message) = refused(cluster.send("alice", create("big", spec(1, 5000))));
    assert_eq!(code, RejectionCode::NoHost);
    for part in [
        "h1: 5000MiB of memory asked, 4GiB free",
        "h2: cordoned",
        "h3: its daemon is not heard of",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_wrong_expected_revision_is_a_conflict_that_names_both() {
    let mut cluster = Cluster::with_hosts(1);
    cluster.send("alice", create("web", spec(1, 128))).unwrap();
    let revision = cluster.state.resolve(&named("web")).unwrap().revision();
    let mut stop = cluster.submission(
        "alice",
        Command::StopVm {
            vm: named("web"),
            timeout: None,
        },
    );
    stop.expected = Some(Seq(999));
    let (code, message) = refused(cluster.submit(&stop));
    assert_eq!(code, RejectionCode::Conflict);
    assert!(
        message.contains("999") && message.contains(&revision.to_string()),
        "{message}"
    );

    let mut stop = cluster.submission(
        "alice",
        Command::StopVm {
            vm: named("web"),
            timeout: None,
        },
    );
    stop.expected = Some(revision);
    assert_eq!(kinds(&cluster.submit(&stop).unwrap()), ["stop-requested"]);
}

#[test]
fn starting_a_vm_that_should_run_is_so_already() {
    let mut cluster = Cluster::with_hosts(1);
    let vm = cluster.running("web");
    let decided = cluster
        .send("alice", Command::StartVm { vm: named("web") })
        .unwrap();
    assert!(matches!(decided, Decided::Unchanged { resource: Resource::Vm(id), .. } if id == vm));
}

#[test]
fn the_life_of_a_vm_from_create_to_deleted() {
    let mut cluster = Cluster::with_hosts(1);
    let vm = cluster.running("web");
    cluster.report(vm, Observation::Ready).unwrap();
    assert_eq!(cluster.state.vm(vm).unwrap().status(), Status::Ready);
    cluster
        .send(
            "alice",
            Command::StopVm {
                vm: named("web"),
                timeout: None,
            },
        )
        .unwrap();
    assert_eq!(cluster.state.vm(vm).unwrap().status(), Status::Stopping);
    cluster
        .report(
            vm,
            Observation::Exited(ExitReason::PoweredOff, String::new(), Run::default()),
        )
        .unwrap();
    assert_eq!(cluster.state.vm(vm).unwrap().status(), Status::Stopped);
    cluster
        .send(
            "alice",
            Command::DeleteVm {
                vm: named("web"),
                force: false,
                keep: None,
            },
        )
        .unwrap();
    assert_eq!(cluster.state.vm(vm).unwrap().status(), Status::Deleting);
    cluster.report(vm, Observation::Removed).unwrap();
    assert!(cluster.state.vm(vm).is_none());
    assert_eq!(
        cluster.state.hosts_by_name().next().unwrap().reserved,
        Capacity::default()
    );
    cluster
        .send("alice", create("web", spec(1, 128)))
        .expect("the name is free again");
}

#[test]
fn a_vm_whose_policy_has_it_stay_ended_should_be_stopped_and_says_why_until_it_is_started() {
    let mut cluster = Cluster::with_hosts(1);
    let vm = cluster.running("web");
    let of = |cluster: &Cluster| Vm::clone(cluster.state.vm(vm).unwrap());
    let run = |cluster: &Cluster| Run {
        order: of(cluster).order(),
        ..Run::default()
    };
    // A crash under the default policy is no end of it.
    let crashed = || ExitReason::Crashed("status 1".to_owned());
    let ended = Observation::Exited(crashed(), String::new(), run(&cluster));
    cluster.report(vm, ended.clone()).unwrap();
    assert_eq!(
        (of(&cluster).status(), of(&cluster).stays()),
        (Status::Starting, None)
    );
    // Told again, it is no news.
    assert_eq!(kinds(&cluster.report(vm, ended).unwrap()), [""; 0]);

    // A power-off of its own is one, also where its start was never told.
    let ended = Observation::Exited(ExitReason::PoweredOffItself, String::new(), run(&cluster));
    assert_eq!(kinds(&cluster.report(vm, ended.clone()).unwrap()), ["exited"]);
    let after = of(&cluster);
    assert_eq!(
        (after.status(), after.stays()),
        (Status::Stopped, Some(NoMore::NoFailure))
    );
    assert_eq!(after.power, Power::Stopped(StopHow::Hard));
    assert_eq!(kinds(&cluster.report(vm, ended.clone()).unwrap()), [""; 0]);

    // An order that the host did not know of when it ended is what counts.
    let start = Command::StartVm { vm: named("web") };
    cluster.send("alice", start).unwrap();
    assert_eq!((of(&cluster).power, of(&cluster).stays()), (Power::Running, None));
    assert_eq!(kinds(&cluster.report(vm, ended).unwrap()), [""; 0]);
    assert_eq!(of(&cluster).status(), Status::Starting);
}

#[test]
fn a_vm_that_should_run_is_deleted_only_by_force() {
    let mut cluster = Cluster::with_hosts(1);
    cluster.running("web");
    let gently = cluster.send(
        "alice",
        Command::DeleteVm {
            vm: named("web"),
            force: false,
            keep: None,
        },
    );
    assert_eq!(refused(gently).0, RejectionCode::State);
    let forced = cluster
        .send(
            "alice",
            Command::DeleteVm {
                vm: named("web"),
                force: true,
                keep: None,
            },
        )
        .unwrap();
    assert_eq!(kinds(&forced), ["delete-requested"]);
}

#[test]
fn a_kill_overtakes_a_stop_that_takes_too_long() {
    let mut cluster = Cluster::with_hosts(1);
    cluster.running("web");
    cluster
        .send(
            "alice",
            Command::StopVm {
                vm: named("web"),
                timeout: None,
            },
        )
        .unwrap();
    let killed = cluster
        .send("alice", Command::KillVm { vm: named("web") })
        .unwrap();
    assert_eq!(kinds(&killed), ["stop-requested"]);
    let again = cluster
        .send("alice", Command::KillVm { vm: named("web") })
        .unwrap();
    assert!(matches!(again, Decided::Unchanged { .. }));
}

#[test]
fn a_blocked_vm_says_why_once_and_is_unblocked_by_its_start() {
    let mut cluster = Cluster::with_hosts(1);
    cluster.send("alice", create("web", spec(1, 128))).unwrap();
    let vm = cluster.state.resolve(&named("web")).unwrap().id;
    let why = || Observation::Blocked("kernel /nowhere can't be read: no such file".to_owned());
    assert_eq!(kinds(&cluster.report(vm, why()).unwrap()), ["blocked"]);
    assert_eq!(kinds(&cluster.report(vm, why()).unwrap()), [""; 0]);
    assert_eq!(cluster.state.vm(vm).unwrap().status(), Status::Blocked);
    cluster.report(vm, started(9)).unwrap();
    assert_eq!(cluster.state.vm(vm).unwrap().status(), Status::Running);
}

#[test]
fn a_vm_is_not_blocked_any_more_once_it_was_ordered_otherwise_or_was_found_running() {
    let mut cluster = Cluster::with_hosts(1);
    cluster.send("alice", create("web", spec(1, 128))).unwrap();
    let vm = cluster.state.resolve(&named("web")).unwrap().id;
    let why = || Observation::Blocked("no room".to_owned());
    cluster.report(vm, why()).unwrap();
    cluster
        .send("alice", Command::KillVm { vm: named("web") })
        .unwrap();
    assert_eq!(cluster.state.vm(vm).unwrap().trouble, None);

    cluster
        .send("alice", Command::StartVm { vm: named("web") })
        .unwrap();
    assert_eq!(kinds(&cluster.report(vm, why()).unwrap()), ["blocked"]);
    let found = Observation::Adopted {
        hypervisor: HypervisorKind::QemuTcg,
        pid: 7,
        uptime_ms: 1,
        paused: false,
    };
    cluster.report(vm, found).unwrap();
    assert_eq!(cluster.state.vm(vm).unwrap().status(), Status::Running);
}

#[test]
fn two_creates_in_one_batch_see_each_other() {
    let mut cluster = Cluster::with_hosts(1);
    let (first, second) = (
        cluster.submission("alice", create("web", spec(1, 128))),
        cluster.submission("bob", create("web", spec(1, 128))),
    );
    let context = Context {
        now: cluster.now,
        term: TERM,
        alive: &cluster.alive,
        replicas: &Replicas::alone(ReplicaId::new(1).unwrap()),
    };
    let mut scratch = cluster.state.clone();
    assert!(decide_onto(&mut scratch, &first, context).is_ok());
    assert_eq!(
        refused(decide_onto(&mut scratch, &second, context)).0,
        RejectionCode::Exists
    );
}

#[test]
fn a_renamed_vm_goes_by_its_new_name_and_the_old_one_is_free() {
    let mut cluster = Cluster::with_hosts(1);
    let vm = cluster.running("web");
    let rename = |to: &str| Command::RenameVm {
        vm: VmRef::Id(vm),
        name: to.parse().unwrap(),
    };
    let revision = cluster.state.vm(vm).unwrap().revision();
    assert_eq!(
        kinds(&cluster.send("alice", rename("shop")).unwrap()),
        ["renamed"]
    );
    assert_eq!(cluster.state.resolve(&named("shop")).unwrap().id, vm);
    assert!(cluster.state.resolve(&named("web")).is_none());
    assert_eq!(cluster.state.vm(vm).unwrap().revision(), revision);
    let host = cluster.state.hosts_by_name().next().unwrap().id;
    let slice = HostSlice::of(&cluster.state, host).unwrap();
    assert_eq!(slice.vms[0].name.as_str(), "shop");
    // And to a name that another one has it is refused.
    cluster.send("alice", create("web", spec(1, 128))).unwrap();
    assert_eq!(
        refused(cluster.send("alice", rename("web"))).0,
        RejectionCode::Exists
    );
    assert_eq!(kinds(&cluster.send("alice", rename("shop")).unwrap()), [""; 0]);
}

#[test]
fn a_protected_vm_is_not_deleted_before_that_is_lifted() {
    let mut cluster = Cluster::with_hosts(1);
    cluster.running("web");
    let protect = |protected| Command::ProtectVm {
        vm: named("web"),
        protected,
    };
    let delete = || Command::DeleteVm {
        vm: named("web"),
        force: true,
        keep: None,
    };
    cluster.send("alice", protect(true)).unwrap();
    let (code, message) = refused(cluster.send("alice", delete()));
    assert_eq!(code, RejectionCode::State);
    assert!(message.contains("chv vm unprotect web"), "{message}");
    cluster.send("alice", protect(false)).unwrap();
    assert_eq!(
        kinds(&cluster.send("alice", delete()).unwrap()),
        ["delete-requested"]
    );
}
