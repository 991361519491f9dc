//! What must hold over any history: the invariants, replay, exactly-once, the chain, and totality.

use std::time::Duration;

use chv_domain::spec::OnHostLoss;
use chv_domain::*;
use proptest::prelude::*;

use crate::history::*;

/// One move of somebody, over few enough names that they meet.
#[derive(Debug, Clone)]
enum Move {
    Create {
        name: u8,
        vcpus: u32,
        memory: u32,
        failover: bool,
    },
    Lose(u8),
    Start(u8),
    Stop(u8),
    Kill(u8),
    Pause(u8),
    Rename(u8, u8),
    Label(u8, u8),
    Annotate(u8, u8),
    Protect(u8, bool),
    Change {
        name: u8,
        vcpus: u32,
        memory: u32,
        failover: bool,
    },
    Resume(u8),
    Reboot(u8),
    Reset(u8),
    Delete {
        name: u8,
        force: bool,
        keep: Option<u32>,
    },
    Undelete(u8, Option<u8>),
    Purge(u8),
    Cordon(u8),
    Uncordon(u8),
    Register {
        host: u8,
        vcpus: u32,
    },
    Die(u8),
    Report {
        name: u8,
        observation: u8,
    },
    Wait(u32),
    Retry(prop::sample::Index),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        4 => (0u8..6, 1u32..5, 1u32..2000, any::<bool>()).prop_map(|(name, vcpus, memory, failover)| Move::Create { name, vcpus, memory, failover }),
        2 => (0u8..6).prop_map(Move::Lose),
        1 => (0u8..6).prop_map(Move::Start),
        1 => (0u8..6).prop_map(Move::Stop),
        1 => (0u8..6).prop_map(Move::Kill),
        2 => (0u8..6).prop_map(Move::Pause),
        1 => (0u8..6, 0u8..6).prop_map(|(name, to)| Move::Rename(name, to)),
        1 => (0u8..6, 0u8..3).prop_map(|(name, to)| Move::Label(name, to)),
        1 => (0u8..6, 0u8..3).prop_map(|(name, to)| Move::Annotate(name, to)),
        1 => (0u8..6, any::<bool>()).prop_map(|(name, on)| Move::Protect(name, on)),
        3 => (0u8..6, 1u32..5, 1u32..2000, any::<bool>()).prop_map(|(name, vcpus, memory, failover)| Move::Change { name, vcpus, memory, failover }),
        1 => (0u8..6).prop_map(Move::Resume),
        1 => (0u8..6).prop_map(Move::Reboot),
        1 => (0u8..6).prop_map(Move::Reset),
        2 => (0u8..6, any::<bool>(), prop::option::of(1u32..3000)).prop_map(|(name, force, keep)| Move::Delete { name, force, keep }),
        1 => (0u8..6, prop::option::of(0u8..6)).prop_map(|(name, to)| Move::Undelete(name, to)),
        1 => (0u8..6).prop_map(Move::Purge),
        1 => (1u8..4).prop_map(Move::Cordon),
        1 => (1u8..4).prop_map(Move::Uncordon),
        1 => (1u8..4, 1u32..16).prop_map(|(host, vcpus)| Move::Register { host, vcpus }),
        1 => (1u8..4).prop_map(Move::Die),
        6 => (0u8..6, 0u8..12).prop_map(|(name, observation)| Move::Report { name, observation }),
        1 => (0u32..4000).prop_map(Move::Wait),
        2 => any::<prop::sample::Index>().prop_map(Move::Retry),
    ];
    prop::collection::vec(one, 0..60)
}

fn texts(number: u8) -> TextsChange {
    match number {
        0 => TextsChange {
            set: [("tier".to_owned(), "front".to_owned())].into(),
            ..TextsChange::default()
        },
        _ => TextsChange {
            remove: ["tier".to_owned()].into(),
            ..TextsChange::default()
        },
    }
}

fn observation(number: u8) -> Observation {
    match number {
        0 => started(7),
        1 => Observation::Ready,
        2 => Observation::Adopted {
            hypervisor: HypervisorKind::QemuTcg,
            pid: 7,
            uptime_ms: 5,
            paused: false,
        },
        3 => Observation::Exited(ExitReason::Vanished, String::new(), Run::default()),
        4 => Observation::Blocked("the kernel can't be read".to_owned()),
        5 => Observation::Unblocked,
        6 => Observation::Paused,
        7 => Observation::Resumed,
        8 => Observation::Rebooted { order: None },
        9 => Observation::Applied {
            restart_needed: Vec::new(),
        },
        10 => Observation::Applied {
            restart_needed: vec!["memory.size".to_owned().try_into().unwrap()],
        },
        _ => Observation::Removed,
    }
}

fn on_loss(failover: bool) -> OnHostLoss {
    match failover {
        true => OnHostLoss::Failover,
        false => OnHostLoss::Stay,
    }
}

/// Plays the moves; every submission that was sent comes back with what was answered first.
fn play(cluster: &mut Cluster, moves: Vec<Move>) -> Vec<(Submission, Result<Decided, Rejection>)> {
    let mut sent: Vec<(Submission, Result<Decided, Rejection>)> = Vec::new();
    for step in moves {
        let vm = |name: u8| named(&format!("vm{name}"));
        let (actor, command) = match step {
            Move::Create {
                name,
                vcpus,
                memory,
                failover,
            } => {
                let spec = VmSpec {
                    on_host_loss: on_loss(failover),
                    ..spec(vcpus, memory)
                };
                ("alice".to_owned(), create(&format!("vm{name}"), spec))
            }
            Move::Change {
                name,
                vcpus,
                memory,
                failover,
            } => {
                let spec = VmSpec {
                    on_host_loss: on_loss(failover),
                    ..spec(vcpus, memory)
                };
                let (vm, spec) = (vm(name), spec.into());
                ("alice".to_owned(), Command::ChangeVm { vm, spec })
            }
            Move::Lose(name) => {
                let Some(placement) = cluster.state.resolve(&vm(name)).and_then(|vm| vm.placement) else {
                    continue;
                };
                let vm = cluster.state.resolve(&vm(name)).unwrap().id;
                (
                    "replica/1".to_owned(),
                    Command::FailOverVm {
                        vm,
                        epoch: placement.epoch,
                    },
                )
            }
            Move::Start(name) => ("alice".to_owned(), Command::StartVm { vm: vm(name) }),
            Move::Stop(name) => (
                "bob".to_owned(),
                Command::StopVm {
                    vm: vm(name),
                    timeout: None,
                },
            ),
            Move::Kill(name) => ("bob".to_owned(), Command::KillVm { vm: vm(name) }),
            Move::Rename(name, to) => (
                "bob".to_owned(),
                Command::RenameVm {
                    vm: vm(name),
                    name: format!("vm{to}").parse().unwrap(),
                },
            ),
            Move::Label(name, to) => {
                let (vm, change) = (vm(name), texts(to));
                ("bob".to_owned(), Command::LabelVm { vm, change })
            }
            Move::Annotate(name, to) => {
                let (vm, change) = (vm(name), texts(to));
                ("bob".to_owned(), Command::AnnotateVm { vm, change })
            }
            Move::Protect(name, protected) => {
                let vm = vm(name);
                ("bob".to_owned(), Command::ProtectVm { vm, protected })
            }
            Move::Pause(name) => ("bob".to_owned(), Command::PauseVm { vm: vm(name) }),
            Move::Resume(name) => ("bob".to_owned(), Command::ResumeVm { vm: vm(name) }),
            Move::Reboot(name) => (
                "bob".to_owned(),
                Command::RebootVm {
                    vm: vm(name),
                    timeout: None,
                },
            ),
            Move::Reset(name) => ("bob".to_owned(), Command::ResetVm { vm: vm(name) }),
            Move::Delete { name, force, keep } => (
                "bob".to_owned(),
                Command::DeleteVm {
                    vm: vm(name),
                    force,
                    keep: keep.map(|seconds| KeepFor::from_seconds(seconds).unwrap()),
                },
            ),
            Move::Undelete(name, to) => (
                "bob".to_owned(),
                Command::UndeleteVm {
                    vm: vm(name),
                    name: to.map(|to| format!("vm{to}").parse().unwrap()),
                },
            ),
            Move::Purge(name) => match cluster.state.resolve(&vm(name)) {
                Some(vm) => ("replica/1".to_owned(), Command::PurgeVm { vm: vm.id }),
                None => continue,
            },
            Move::Cordon(host) => (
                "carol".to_owned(),
                Command::CordonHost {
                    host: format!("h{host}").parse().unwrap(),
                },
            ),
            Move::Uncordon(host) => (
                "carol".to_owned(),
                Command::UncordonHost {
                    host: format!("h{host}").parse().unwrap(),
                },
            ),
            Move::Register { host, vcpus } => {
                cluster.alive.insert(host_id(host.into()));
                let register = Command::RegisterHost {
                    host: host_id(host.into()),
                    facts: facts(vcpus, 4096),
                };
                (format!("host/h{host}"), register)
            }
            Move::Die(host) => {
                cluster.alive.remove(&host_id(host.into()));
                continue;
            }
            Move::Report {
                name,
                observation: number,
            } => {
                let Some(found) = cluster.state.resolve(&vm(name)).cloned() else {
                    continue;
                };
                let placement = found.placement.unwrap();
                let host = cluster.state.host(placement.host).unwrap().name.clone();
                let report = Command::ReportVm {
                    vm: found.id,
                    epoch: placement.epoch,
                    observation: observation(number),
                };
                // A host says what it acted on.
                let mut submission = cluster.submission(&format!("host/{host}"), report);
                submission.follows = Some(found.revision());
                let answer = cluster.submit(&submission);
                sent.push((submission, answer));
                continue;
            }
            Move::Wait(seconds) => {
                cluster.now = cluster.now.plus(Duration::from_secs(seconds.into()));
                continue;
            }
            Move::Retry(index) => {
                let accepted: Vec<_> = sent
                    .iter()
                    .filter(|(_, answer)| matches!(answer, Ok(Decided::Record(_))))
                    .collect();
                if let Some((submission, first)) = accepted.get(index.index(accepted.len().max(1))) {
                    retried(cluster, submission, first);
                }
                continue;
            }
        };
        let submission = cluster.submission(&actor, command);
        let answer = cluster.submit(&submission);
        sent.push((submission, answer));
    }
    sent
}

/// A retry changes nothing, and gets the first answer or is refused as too old.
fn retried(cluster: &mut Cluster, submission: &Submission, first: &Result<Decided, Rejection>) {
    let before = cluster.state.digest();
    let again = cluster.submit(submission);
    assert_eq!(cluster.state.digest(), before);
    match (first, again) {
        (Ok(Decided::Record(record)), Ok(Decided::Repeat(outcome))) => {
            assert_eq!((outcome.first, outcome.last), (record.first, record.last()));
        }
        (_, Err(rejection)) => assert_eq!(rejection.code, RejectionCode::Clock),
        (first, again) => panic!("first {first:?}, then {again:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn a_state_that_was_decided_on_is_taken_over_only_where_it_is_what_the_records_fold_to(
        moves in moves(), cut in any::<prop::sample::Index>(), published in 0u64..9
    ) {
        // Given the records of a history, the state that a part of them led to, and the rest as one batch.
        let mut cluster = Cluster::with_hosts(3);
        play(&mut cluster, moves);
        let records = cluster.records.clone();
        let (begun, rest) = records.split_at(cut.index(records.len() + 1));
        let batch = |records: &[Record]| Batch { published: Seq(published), records: records.to_vec() };
        let mut before = Projection::default();
        before.apply_batch(TERM, &batch(begun));
        let folded = |term, batch: &Batch| {
            let mut state = before.clone();
            let outcome = state.apply_batch(term, batch);
            (state, outcome)
        };
        let taken = |term, batch: &Batch, decided: &Projection| {
            let mut state = before.clone();
            let outcome = state.apply_decided(term, batch, decided.clone());
            (state, outcome)
        };
        // When a replica is told what it decided on, or something else, then it ends as one that folds.
        let decided = cluster.state.clone();
        prop_assert_eq!(taken(TERM, &batch(rest), &decided), folded(TERM, &batch(rest)));
        prop_assert_eq!(taken(TERM, &batch(rest), &before), folded(TERM, &batch(rest)));
        prop_assert_eq!(taken(Term(9), &batch(rest), &decided), folded(Term(9), &batch(rest)));
        if !rest.is_empty() {
            prop_assert_eq!(taken(TERM, &batch(&rest[1..]), &decided), folded(TERM, &batch(&rest[1..])));
        }
    }

    #[test]
    fn any_history_keeps_the_invariants_and_replays_to_the_same_state(moves in moves()) {
        let mut cluster = Cluster::with_hosts(2);
        play(&mut cluster, moves);

        let mut replayed = Projection::default();
        for record in &cluster.records {
            let batch = Batch { published: Seq::ZERO, records: vec![record.clone()] };
            replayed.apply_batch(TERM, &batch);
        }
        prop_assert_eq!(replayed.digest(), cluster.state.digest());
    }

    #[test]
    fn numbers_have_no_holes_times_never_go_back_and_the_chain_holds(moves in moves()) {
        let mut cluster = Cluster::with_hosts(2);
        play(&mut cluster, moves);

        let (mut next, mut time, mut prev) = (Seq(1), Timestamp(0), RecordHash::ZERO);
        for record in &cluster.records {
            prop_assert_eq!(record.first, next);
            prop_assert!(record.time >= time);
            prop_assert_eq!(record.prev, prev);
            (next, time, prev) = (record.last().next(), record.time, record.hash());
        }
        prop_assert_eq!(cluster.state.seq().next(), next);
    }

    #[test]
    fn one_batch_of_many_commands_equals_many_batches_of_one(moves in moves()) {
        let mut cluster = Cluster::with_hosts(2);
        play(&mut cluster, moves);
        let mut at_once = Projection::default();
        let all = Batch { published: Seq::ZERO, records: cluster.records.clone() };
        at_once.apply_batch(TERM, &all);
        prop_assert_eq!(at_once.digest(), cluster.state.digest());
    }

    #[test]
    fn a_batch_of_another_term_or_out_of_the_chain_changes_nothing(moves in moves(), other in 4u64..9) {
        let mut cluster = Cluster::with_hosts(1);
        play(&mut cluster, moves);
        let mut state = Projection::default();
        let batch = Batch { published: Seq::ZERO, records: cluster.records.clone() };
        prop_assert_eq!(state.apply_batch(Term(other), &batch), BatchOutcome::Dropped);
        let tail = Batch { published: Seq::ZERO, records: cluster.records[1..].to_vec() };
        if !tail.records.is_empty() {
            prop_assert_eq!(state.apply_batch(TERM, &tail), BatchOutcome::Dropped);
        }
        prop_assert_eq!(state, Projection::default());
    }

    #[test]
    fn a_stored_projection_and_its_records_read_back(moves in moves()) {
        let mut cluster = Cluster::with_hosts(2);
        play(&mut cluster, moves);
        let again: Projection = stored::decode(&stored::encode(&cluster.state).unwrap()).unwrap();
        prop_assert_eq!(&again, &cluster.state);
        prop_assert_eq!(&Projection::from(Parts::from(&cluster.state)), &cluster.state);
        let records: Vec<Record> = stored::decode(&stored::encode(&cluster.records).unwrap()).unwrap();
        prop_assert_eq!(&records, &cluster.records);
    }

    #[test]
    fn a_host_is_never_given_more_than_it_offered_when_it_was_chosen(moves in moves()) {
        let moves: Vec<_> = moves.into_iter().filter(|step| !matches!(step, Move::Register { .. })).collect();
        let mut cluster = Cluster::with_hosts(3);
        play(&mut cluster, moves);
        for host in cluster.state.hosts_by_name() {
            prop_assert!(host.reserved.vcpus <= host.facts.capacity.vcpus);
            prop_assert!(host.reserved.memory_mib <= host.facts.capacity.memory_mib);
        }
    }

    #[test]
    fn a_hosts_feed_number_moves_exactly_when_its_slice_does(moves in moves()) {
        let mut cluster = Cluster::with_hosts(2);
        play(&mut cluster, moves);
        let mut state = Projection::default();
        for record in &cluster.records {
            let before = state.clone();
            state.apply_batch(TERM, &Batch { published: Seq::ZERO, records: vec![record.clone()] });
            for host in before.hosts_by_name() {
                let (old, new) = (HostSlice::of(&before, host.id).unwrap(), HostSlice::of(&state, host.id).unwrap());
                prop_assert_eq!(old.feed != new.feed, old.vms != new.vms);
            }
        }
    }
}
