//! The steps, taken on a log's membership that does what it is told.

use std::collections::BTreeMap;

use chv_domain::{
    Actor, Batch, BatchOutcome, CommandId, Context, Decided, Projection, Replicas, Seq, Submission, Term,
    Timestamp, decide,
};
use proptest::prelude::*;

use super::*;

const TERM: Term = Term(1);

fn replica(number: u64) -> ReplicaId {
    ReplicaId::new(number).unwrap()
}

fn address(number: u64) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7000 + number as u16))
}

/// What is wanted, and a log whose membership does what it is told.
struct World {
    state: Projection,
    log: Membership,
    leader: ReplicaId,
    commands: u8,
}

impl World {
    fn of(count: u64) -> Self {
        let voters: BTreeMap<_, _> = (1..=count)
            .map(|number| (replica(number), address(number)))
            .collect();
        let log = Membership {
            progress: voters.keys().map(|replica| (*replica, 1000)).collect(),
            voters,
            last: 1000,
            ..Membership::default()
        };
        let mut world = Self {
            state: Projection::default(),
            log,
            leader: replica(1),
            commands: 0,
        };
        assert_eq!(world.step(), Some(Step::Record));
        world
    }

    /// Whether it was taken on.
    fn send(&mut self, actor: Actor, command: Command) -> bool {
        self.commands += 1;
        let id = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, self.commands];
        let submission = Submission::new(CommandId::from_bytes(id), actor, command);
        let context = Context {
            now: Timestamp(1),
            term: TERM,
            alive: &BTreeSet::new(),
            replicas: &Replicas {
                leader: self.leader,
                answering: (1..20).map(replica).collect(),
            },
        };
        let Ok(Decided::Record(record)) = decide(&self.state, &submission, context) else {
            return false;
        };
        let batch = Batch {
            published: Seq::ZERO,
            records: vec![record],
        };
        matches!(self.state.apply_batch(TERM, &batch), BatchOutcome::Applied { .. })
    }

    fn ask(&mut self, command: Command) -> bool {
        self.send(Actor::User("alice".parse().unwrap()), command)
    }

    /// Takes the step that is due.
    fn step(&mut self) -> Option<Step> {
        let step = plan(self.state.cluster(), &self.log, self.leader)?;
        match &step {
            Step::Teach(replica, address) => {
                assert!(self.log.learners.insert(*replica, *address).is_none());
            }
            Step::Vote(voters) => {
                assert!(voters.contains(&self.leader), "{voters:?} without its leader");
                let mut known = std::mem::take(&mut self.log.voters);
                known.append(&mut self.log.learners);
                for voter in voters {
                    let address = known.remove(voter).expect("a voter that does not hold the log");
                    self.log.voters.insert(*voter, address);
                }
                // Learners stay; voters that are none any more go.
                let members = self.state.cluster();
                known.retain(|replica, _| members.voters().contains(replica));
                self.log.learners = known;
            }
            Step::Forget(replica) => assert!(self.log.learners.remove(replica).is_some()),
            Step::HandOver => {
                let heir = self.log.voters.keys().find(|voter| **voter != self.leader);
                self.leader = *heir.expect("nobody to hand over to");
            }
            Step::Introduce(_) => unreachable!("that is no step of the plan"),
            Step::Record => {
                let command = Command::ReportReplicas {
                    voters: self.log.voters.clone(),
                    learners: self.log.learners.keys().copied().collect(),
                };
                let by = Actor::Replica(self.leader);
                assert!(self.send(by, command), "nothing to record: {:?}", self.log);
            }
        }
        Some(step)
    }

    fn catch_up(&mut self) {
        let learners: Vec<_> = self.log.learners.keys().copied().collect();
        self.log
            .progress
            .extend(learners.into_iter().map(|replica| (replica, 1000)));
    }

    /// Takes all steps, with every replica catching up; how many there were.
    fn settle(&mut self) -> usize {
        for steps in 0..30 {
            self.catch_up();
            if self.step().is_none() {
                return steps;
            }
        }
        panic!("it goes on for ever: {:?} {:?}", self.state.cluster(), self.log);
    }
}

fn add(number: u64) -> Command {
    Command::AddReplica {
        replica: replica(number),
        address: address(number),
    }
}

#[test]
fn a_new_replica_votes_only_once_it_has_caught_up() {
    let mut world = World::of(1);
    assert!(world.ask(add(2)));
    assert_eq!(world.step(), Some(Step::Teach(replica(2), address(2))));
    assert_eq!(world.step(), None);
    world.log.progress.insert(replica(2), 1000 - CLOSE - 1);
    assert_eq!(world.step(), None);
    world.log.progress.insert(replica(2), 1000 - CLOSE);
    assert_eq!(world.step(), Some(Step::Vote([1, 2].map(replica).into())));
    assert_eq!(world.step(), Some(Step::Record));
    assert_eq!(world.step(), None);
    assert_eq!(world.state.cluster().under_way(), None);
}

#[test]
fn a_replica_that_is_replaced_votes_until_the_new_one_does() {
    let mut world = World::of(3);
    assert!(world.ask(Command::ReplaceReplica {
        old: replica(3),
        new: replica(4),
        address: address(4),
    }));
    world.step();
    assert_eq!(world.step(), None);
    assert_eq!(world.log.voters.len(), 3);
    world.catch_up();
    assert_eq!(world.step(), Some(Step::Vote([1, 2, 4].map(replica).into())));
    world.settle();
    assert!(world.state.cluster().has_left(replica(3)));
}

#[test]
fn a_leader_that_is_removed_hands_over_first() {
    let mut world = World::of(3);
    assert!(world.ask(Command::RemoveReplica { replica: replica(1) }));
    assert_eq!(world.step(), Some(Step::HandOver));
    assert_eq!(world.step(), Some(Step::Vote([2, 3].map(replica).into())));
    world.settle();
    assert_eq!(
        world.log.voters.keys().copied().collect::<Vec<_>>(),
        [2, 3].map(replica)
    );
}

#[test]
fn the_only_replica_is_replaced_by_way_of_two() {
    let mut world = World::of(1);
    assert!(world.ask(Command::ReplaceReplica {
        old: replica(1),
        new: replica(2),
        address: address(2),
    }));
    world.settle();
    assert_eq!(world.log.voters.keys().copied().collect::<Vec<_>>(), [replica(2)]);
    assert!(world.state.cluster().has_left(replica(1)));
}

#[test]
fn a_change_of_the_voters_that_is_half_done_is_finished() {
    let mut world = World::of(3);
    world.log.joint = true;
    let step = plan(world.state.cluster(), &world.log, replica(2));
    assert_eq!(step, Some(Step::Vote([1, 2, 3].map(replica).into())));
}

#[derive(Debug, Clone)]
enum Move {
    Add(u64),
    Remove(u64),
    Replace(u64, u64),
    Step,
    CatchUp,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        1 => (1u64..9).prop_map(Move::Add),
        1 => (1u64..9).prop_map(Move::Remove),
        1 => (1u64..9, 1u64..9).prop_map(|(old, new)| Move::Replace(old, new)),
        3 => Just(Move::Step),
        1 => Just(Move::CatchUp),
    ];
    prop::collection::vec(one, 0..40)
}

proptest! {
    #[test]
    fn whatever_is_asked_and_when_the_log_gets_there(count in 1u64..4, moves in moves()) {
        let mut world = World::of(count);
        for one in moves {
            match one {
                Move::Add(number) => drop(world.ask(add(number))),
                Move::Remove(number) => drop(world.ask(Command::RemoveReplica { replica: replica(number) })),
                Move::Replace(old, new) => drop(world.ask(Command::ReplaceReplica {
                    old: replica(old),
                    new: replica(new),
                    address: address(new),
                })),
                Move::Step => drop(world.step()),
                Move::CatchUp => world.catch_up(),
            }
            prop_assert!(!world.log.voters.is_empty());
            prop_assert!(world.log.voters.contains_key(&world.leader));
        }
        world.settle();
        let voters: BTreeSet<_> = world.log.voters.keys().copied().collect();
        prop_assert_eq!(voters, world.state.cluster().voters());
        prop_assert!(world.log.learners.is_empty());
        prop_assert_eq!(world.state.cluster().under_way(), None);
    }
}
