//! Who should hold the log: one change at a time, none that costs the quorum, and no id twice.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use chv_domain::*;
use proptest::prelude::*;

use crate::history::{Cluster, kinds, replica};

fn address(number: u64) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7000 + number as u16))
}

fn voters(numbers: impl IntoIterator<Item = u64>) -> BTreeMap<ReplicaId, SocketAddr> {
    let one = |number| (replica(number), address(number));
    numbers.into_iter().map(one).collect()
}

fn add(number: u64) -> Command {
    Command::AddReplica {
        replica: replica(number),
        address: address(number),
    }
}

fn remove(number: u64) -> Command {
    Command::RemoveReplica {
        replica: replica(number),
    }
}

fn replace(old: u64, new: u64) -> Command {
    Command::ReplaceReplica {
        old: replica(old),
        new: replica(new),
        address: address(new),
    }
}

fn report(voters: BTreeMap<ReplicaId, SocketAddr>, learners: impl IntoIterator<Item = u64>) -> Command {
    Command::ReportReplicas {
        voters,
        learners: learners.into_iter().map(replica).collect(),
    }
}

/// A cluster whose replicas 1 to `count` are recorded, and answer replica 1, which leads.
fn formed(count: u64) -> Cluster {
    let mut cluster = Cluster::empty();
    let report = report(voters(1..=count), []);
    assert_eq!(kinds(&cluster.send("replica/1", report).unwrap()), ["formed"]);
    cluster.replicas.answering = (2..=count).map(replica).collect();
    cluster
}

fn code(answer: Result<Decided, Rejection>) -> &'static str {
    answer.map_or_else(|rejection| rejection.code.as_str(), |_| "accepted")
}

#[test]
fn given_one_replica_when_two_are_added_in_turn_then_three_vote() {
    let mut cluster = formed(1);
    for number in [2, 3] {
        let added = cluster.send("alice", add(number)).unwrap();
        assert_eq!(kinds(&added), ["replica-added"]);
        // When the log's membership has it as a learner, then it has not joined yet.
        let learns = report(voters(1..number), [number]);
        assert!(matches!(
            cluster.send("replica/1", learns),
            Ok(Decided::Unchanged { .. })
        ));
        let votes = report(voters(1..=number), []);
        assert_eq!(
            kinds(&cluster.send("replica/1", votes).unwrap()),
            ["replica-joined"]
        );
    }
    let state = cluster.state.cluster();
    assert_eq!(state.voters(), [1, 2, 3].map(replica).into());
    assert_eq!((state.under_way(), state.left().count()), (None, 0));
}

#[test]
fn given_a_change_under_way_then_a_second_is_refused_and_the_same_again_is_not() {
    let mut cluster = formed(3);
    cluster.send("alice", add(4)).unwrap();
    assert_eq!(code(cluster.send("alice", add(5))), "under_way");
    assert_eq!(code(cluster.send("alice", remove(2))), "under_way");
    assert_eq!(code(cluster.send("alice", replace(2, 5))), "under_way");
    assert!(matches!(
        cluster.send("alice", add(4)),
        Ok(Decided::Unchanged { .. })
    ));
}

#[test]
fn given_a_replica_that_never_catches_up_when_it_is_removed_then_the_way_is_free_again() {
    let mut cluster = formed(3);
    cluster.send("alice", replace(3, 4)).unwrap();
    cluster.send("alice", remove(4)).unwrap();
    let left = cluster.send("replica/1", report(voters(1..=3), [])).unwrap();
    assert_eq!(kinds(&left), ["replica-left"]);
    assert_eq!(cluster.state.cluster().voters(), [1, 2, 3].map(replica).into());
    // But its id is used up.
    assert_eq!(code(cluster.send("alice", add(4))), "id_used");
    assert_eq!(code(cluster.send("alice", add(5))), "accepted");
}

#[test]
fn given_a_dead_replica_when_it_is_replaced_then_it_leaves_as_the_new_one_joins() {
    let mut cluster = formed(3);
    cluster.replicas.answering.remove(&replica(3));
    cluster.send("alice", replace(3, 4)).unwrap();
    let replaced = report(voters([1, 2, 4]), []);
    let decided = cluster.send("replica/1", replaced).unwrap();
    assert_eq!(kinds(&decided), ["replica-joined", "replica-left"]);
    assert!(cluster.state.cluster().has_left(replica(3)));
    assert_eq!(cluster.state.cluster().voters(), [1, 2, 4].map(replica).into());
    assert_eq!(code(cluster.send("alice", add(3))), "id_used");
    assert_eq!(code(cluster.send("alice", replace(2, 3))), "id_used");
}

#[test]
fn what_would_cost_the_quorum_or_the_last_replica_is_refused() {
    let mut cluster = formed(3);
    cluster.replicas.answering.remove(&replica(3));
    // Of 1 and 3, one would answer.
    assert_eq!(code(cluster.send("alice", remove(2))), "no_quorum");
    assert_eq!(code(cluster.send("alice", remove(3))), "accepted");
    let mut alone = formed(1);
    assert_eq!(code(alone.send("alice", remove(1))), "last_replica");
    assert_eq!(code(alone.send("alice", Command::StepDown)), "no_quorum");
    assert_eq!(code(alone.send("alice", replace(1, 2))), "accepted");
}

#[test]
fn what_names_no_replica_or_a_wrong_address_is_refused() {
    let mut cluster = formed(3);
    assert_eq!(code(cluster.send("alice", remove(9))), "not_found");
    assert_eq!(code(cluster.send("alice", replace(9, 10))), "not_found");
    let at = |address: &str| Command::AddReplica {
        replica: replica(4),
        address: address.parse().unwrap(),
    };
    assert_eq!(code(cluster.send("alice", at("127.0.0.1:7002"))), "exists");
    for unreachable in ["0.0.0.0:7004", "127.0.0.1:0", "[::]:7004"] {
        assert_eq!(code(cluster.send("alice", at(unreachable))), "invalid");
    }
    assert_eq!(code(Cluster::empty().send("alice", add(1))), "under_way");
}

#[test]
fn only_a_replica_may_report_and_only_a_user_may_ask() {
    let mut cluster = formed(3);
    assert_eq!(
        code(cluster.send("alice", report(voters([1]), []))),
        "not_permitted"
    );
    assert_eq!(code(cluster.send("host/h1", remove(3))), "not_permitted");
    assert_eq!(code(cluster.send("replica/1", remove(3))), "not_permitted");
}

#[test]
fn a_leader_that_is_asked_to_step_down_is_named_with_its_term() {
    let mut cluster = formed(3);
    let decided = cluster.send("alice", Command::StepDown).unwrap();
    assert_eq!(kinds(&decided), ["step-down-requested"]);
    assert_eq!(cluster.state.cluster().step_down(), Some(crate::history::TERM));
}

/// One move of an operator, of a replica, or of the log's membership.
#[derive(Debug, Clone)]
enum Move {
    Add(u64),
    Remove(u64),
    Replace(u64, u64),
    Answer(u64, bool),
    /// The log's membership becomes what is wanted, and the leader reports it.
    Follow,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        2 => (1u64..9).prop_map(Move::Add),
        2 => (1u64..9).prop_map(Move::Remove),
        2 => (1u64..9, 1u64..9).prop_map(|(old, new)| Move::Replace(old, new)),
        2 => (1u64..9, any::<bool>()).prop_map(|(replica, answers)| Move::Answer(replica, answers)),
        3 => Just(Move::Follow),
    ];
    prop::collection::vec(one, 0..60)
}

proptest! {
    #[test]
    fn over_any_history_one_replica_at_a_time_changes_and_no_id_is_given_twice(
        count in 1u64..4, moves in moves()
    ) {
        let mut cluster = formed(count);
        let mut left = BTreeSet::new();
        for step in moves {
            let before = cluster.state.cluster().voters();
            let command = match step {
                Move::Answer(number, answers) => {
                    match answers {
                        true => cluster.replicas.answering.insert(replica(number)),
                        false => cluster.replicas.answering.remove(&replica(number)),
                    };
                    continue;
                }
                Move::Follow => {
                    let wanted = cluster.state.cluster().voters();
                    let now = report(voters(wanted.iter().map(|replica| replica.get())), []);
                    // The invariants are checked after each record.
                    cluster.send("replica/1", now).unwrap();
                    prop_assert_eq!(cluster.state.cluster().under_way(), None);
                    prop_assert_eq!(cluster.state.cluster().voters(), wanted);
                    left.extend(cluster.state.cluster().left());
                    continue;
                }
                Move::Add(number) => add(number),
                Move::Remove(number) => remove(number),
                Move::Replace(old, new) => replace(old, new),
            };
            let _ = cluster.send("alice", command);
            let after = cluster.state.cluster().voters();
            prop_assert!(before.difference(&after).count() <= 1 && after.difference(&before).count() <= 1);
            prop_assert!(!after.is_empty() && after.is_disjoint(&left));
        }
    }
}

fn introduce(told: impl IntoIterator<Item = (u64, u8, u32)>) -> Command {
    let one = |(number, directory, format)| {
        let directory = DirectoryId::from_bytes([directory; 16]);
        (replica(number), Introduction { directory, format })
    };
    Command::IntroduceReplicas {
        introduced: told.into_iter().map(one).collect(),
    }
}

#[test]
fn a_replicas_directory_is_the_first_that_was_heard_of() {
    let mut cluster = formed(3);
    let decided = cluster.send("replica/1", introduce([(1, 11, 1), (2, 12, 1), (9, 19, 1)]));
    assert_eq!(
        kinds(&decided.unwrap()),
        ["replica-introduced", "replica-introduced"]
    );
    // when another one is told of the second, then the first stays; what is new of the third is recorded
    let decided = cluster.send("replica/1", introduce([(2, 77, 1), (3, 13, 1)]));
    assert_eq!(kinds(&decided.unwrap()), ["replica-introduced"]);
    let directory = |number| cluster.state.cluster().member(replica(number)).unwrap().directory;
    for number in [1, 2, 3] {
        assert_eq!(
            directory(u64::from(number)),
            Some(DirectoryId::from_bytes([10 + number; 16]))
        );
    }
    assert_eq!(
        code(cluster.send("alice", introduce([(1, 11, 1)]))),
        "not_permitted"
    );
}

#[test]
fn the_format_is_raised_once_every_replica_reads_it_and_never_lowered() {
    // given a cluster of which one replica's program is older, and one says nothing
    let mut cluster = formed(3);
    let format = |cluster: &Cluster| cluster.state.cluster().format();
    cluster
        .send("replica/1", introduce([(1, 11, 3), (2, 12, 3)]))
        .unwrap();
    cluster
        .send("replica/1", introduce([(1, 11, 3), (2, 12, 3), (3, 13, 1)]))
        .unwrap();
    assert_eq!(format(&cluster), 1);
    // when that one is upgraded, then the format is what all of them read
    let decided = cluster.send("replica/1", introduce([(1, 11, 3), (2, 12, 3), (3, 13, 2)]));
    assert_eq!(kinds(&decided.unwrap()), ["format-raised"]);
    assert_eq!(format(&cluster), 2);
    // and an older program that comes later does not lower it
    let decided = cluster.send("replica/1", introduce([(1, 11, 3), (2, 12, 3), (3, 13, 1)]));
    assert_eq!(kinds(&decided.unwrap()), [""; 0]);
    assert_eq!(format(&cluster), 2);
    // and a new replica counts from the moment when it is to join
    cluster.send("alice", add(4)).unwrap();
    cluster
        .send("replica/1", introduce([(1, 11, 3), (2, 12, 3), (3, 13, 3)]))
        .unwrap();
    assert_eq!(format(&cluster), 2);
}
