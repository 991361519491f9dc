//! Single rules, each as given, when, then.

use std::time::Duration;

use chv_domain::*;

use crate::history::*;

fn refused(answer: Result<Decided, Rejection>) -> (RejectionCode, String) {
    let rejection = answer.expect_err("should have been refused");
    (rejection.code, rejection.message)
}

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
        .report(vm, Observation::Exited(ExitReason::PoweredOff))
        .unwrap();
    assert_eq!(cluster.state.vm(vm).unwrap().status(), Status::Stopped);
    cluster
        .send(
            "alice",
            Command::DeleteVm {
                vm: named("web"),
                force: false,
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
fn a_vm_that_should_run_is_deleted_only_by_force() {
    let mut cluster = Cluster::with_hosts(1);
    cluster.running("web");
    let gently = cluster.send(
        "alice",
        Command::DeleteVm {
            vm: named("web"),
            force: false,
        },
    );
    assert_eq!(refused(gently).0, RejectionCode::State);
    let forced = cluster
        .send(
            "alice",
            Command::DeleteVm {
                vm: named("web"),
                force: true,
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
    };
    cluster.report(vm, found).unwrap();
    assert_eq!(cluster.state.vm(vm).unwrap().status(), Status::Running);
}

#[test]
fn a_host_is_heard_only_about_its_own_vms_under_their_current_epoch() {
    let mut cluster = Cluster::with_hosts(2);
    let vm = cluster.running("web");
    let placement = cluster.state.vm(vm).unwrap().placement.unwrap();
    let other = if placement.host == host_id(1) {
        "host/h2"
    } else {
        "host/h1"
    };
    let report = |epoch| Command::ReportVm {
        vm,
        epoch,
        observation: Observation::Ready,
    };
    let (code, _) = refused(cluster.send(other, report(placement.epoch)));
    assert_eq!(code, RejectionCode::NotPermitted);
    let stale = cluster.submission("alice", report(placement.epoch));
    assert_eq!(refused(cluster.submit(&stale)).0, RejectionCode::NotPermitted);
    let owner = cluster.state.host(placement.host).unwrap().name.clone();
    let (code, _) = refused(cluster.send(&format!("host/{owner}"), report(Epoch(Seq(1)))));
    assert_eq!(code, RejectionCode::StaleEpoch);
}

#[test]
fn a_host_may_not_send_users_commands() {
    let mut cluster = Cluster::with_hosts(1);
    let (code, _) = refused(cluster.send("host/h1", create("web", spec(1, 128))));
    assert_eq!(code, RejectionCode::NotPermitted);
}

#[test]
fn a_late_command_and_one_from_the_future_are_refused() {
    let mut cluster = Cluster::with_hosts(1);
    let mut late = cluster.submission("alice", create("web", spec(1, 128)));
    late.deadline = Some(cluster.now.minus(Duration::from_secs(1)));
    assert_eq!(refused(cluster.submit(&late)).0, RejectionCode::Expired);

    let old = cluster.submission("alice", create("web", spec(1, 128)));
    cluster.now = cluster.now.plus(Duration::from_secs(3601));
    assert_eq!(refused(cluster.submit(&old)).0, RejectionCode::Clock);

    cluster.now = cluster.now.plus(Duration::from_secs(10_000));
    let future = cluster.submission("alice", create("web", spec(1, 128)));
    cluster.now = START;
    assert_eq!(refused(cluster.submit(&future)).0, RejectionCode::Clock);
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
fn a_host_that_lost_its_data_directory_does_not_take_over_its_old_name() {
    let mut cluster = Cluster::with_hosts(1);
    let register = Command::RegisterHost {
        host: host_id(77),
        facts: facts(8, 4096),
    };
    let (code, message) = refused(cluster.send("host/h1", register));
    assert_eq!(code, RejectionCode::Exists);
    assert!(message.contains("data directory"), "{message}");
}

#[test]
fn an_id_that_was_another_actors_command_gets_no_answer_of_that_one() {
    let mut cluster = Cluster::with_hosts(1);
    let create = cluster.submission("alice", create("web", spec(1, 128)));
    cluster.submit(&create).unwrap();
    let mut stolen = cluster.submission("bob", Command::KillVm { vm: named("web") });
    stolen.id = create.id;
    let (code, message) = refused(cluster.submit(&stolen));
    assert_eq!(code, RejectionCode::Exists);
    assert!(message.contains("an id of its own"), "{message}");
}

#[test]
fn a_leader_whose_clock_is_behind_takes_no_old_command_for_a_new_one() {
    // given a record of a leader two hours ahead, so that older outcomes are forgotten
    let mut cluster = Cluster::with_hosts(1);
    cluster.running("web");
    let stop = cluster.submission(
        "alice",
        Command::StopVm {
            vm: named("web"),
            timeout: None,
        },
    );
    cluster.submit(&stop).unwrap();
    cluster.now = START.plus(Duration::from_secs(7200));
    cluster
        .send("bob", Command::StartVm { vm: named("web") })
        .unwrap();
    // when a leader with the right time gets the stop again, then it is refused, not done again
    cluster.now = START;
    assert_eq!(refused(cluster.submit(&stop)).0, RejectionCode::Clock);
}

#[test]
fn recorded_times_never_go_back_when_a_leaders_clock_does() {
    let mut cluster = Cluster::with_hosts(1);
    cluster.running("web");
    for seconds in [3000, 60, 3, 3001, 0] {
        // given a leader whose clock is somewhere else than that of the one before
        cluster.now = START.plus(Duration::from_secs(seconds));
        // when it decides, then its record is not before the last one
        let before = cluster.records.last().unwrap().time;
        let number = cluster.records.len();
        let register = Command::RegisterHost {
            host: host_id(1),
            facts: facts(8 + u32::try_from(number).unwrap(), 1 << 20),
        };
        let outcome = cluster.send("host/h1", register);
        assert!(outcome.is_ok(), "{outcome:?}");
        assert!(cluster.records.len() > number, "nothing was recorded");
        assert!(cluster.records.last().unwrap().time >= before.max(cluster.now));
    }
}

#[test]
fn facts_that_no_host_has_are_refused() {
    let mut cluster = Cluster::with_hosts(1);
    let mut huge = facts(8, u64::MAX);
    let register = |facts| Command::RegisterHost {
        host: host_id(1),
        facts,
    };
    assert_eq!(
        refused(cluster.send("host/h1", register(huge.clone()))).0,
        RejectionCode::Invalid
    );
    huge = facts(8, 4096);
    huge.daemon = "x".repeat(1 << 20);
    assert_eq!(
        refused(cluster.send("host/h1", register(huge))).0,
        RejectionCode::Invalid
    );
}

#[test]
fn what_a_host_says_of_a_crash_is_cut_to_a_bound() {
    let mut cluster = Cluster::with_hosts(1);
    let vm = cluster.running("web");
    let crashed = Observation::Exited(ExitReason::Crashed("é".repeat(1 << 20)));
    let Decided::Record(record) = cluster.report(vm, crashed).unwrap() else {
        panic!()
    };
    assert!(stored::encode(&record).unwrap().len() < 4096);
}
