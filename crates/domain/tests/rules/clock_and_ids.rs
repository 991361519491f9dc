//! Clocks that differ, and ids that come again.

use std::time::Duration;

use chv_domain::*;

use crate::history::*;

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
