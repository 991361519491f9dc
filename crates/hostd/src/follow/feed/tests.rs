//! A leader's history as it reaches a host: late, twice, in another order, in part, or not at all.

use chv_domain::{Epoch, Power, StopHow};
use proptest::prelude::*;

use super::*;

const HOST: HostId = HostId::from_bytes([2; 16]);

fn vm(id: u8, revision: u64) -> DesiredVm {
    DesiredVm {
        vm: VmId::from_bytes([id; 16]),
        project: "default".parse().unwrap(),
        name: "web".parse().unwrap(),
        spec: serde_json::from_str(r#"{"cpu":1,"memory":"64MiB","boot":{"kernel":"vmlinuz"}}"#).unwrap(),
        power: if revision.is_multiple_of(2) {
            Power::Running
        } else {
            Power::Stopped(StopHow::Hard)
        },
        epoch: Epoch(Seq(u64::from(id))),
        revision: Seq(revision),
        changed: Seq::ZERO,
        trace: None,
    }
}

fn delta(prev: u64, feed: u64, vms: Vec<DesiredVm>, gone: &[u8]) -> FeedDelta {
    let gone = gone.iter().map(|id| VmId::from_bytes([*id; 16])).collect();
    FeedDelta {
        host: HOST,
        prev: Some(Seq(prev)),
        feed: Seq(feed),
        vms,
        gone,
    }
}

fn slice(feed: u64, vms: Vec<DesiredVm>) -> HostSlice {
    HostSlice {
        host: HOST,
        feed: Seq(feed),
        vms,
    }
}

fn at(position: u64, vms: Vec<DesiredVm>) -> Feed {
    let mut feed = Feed::new(HOST, Seq::ZERO);
    assert!(feed.leader_is_at(Seq(position)));
    assert!(feed.slice(slice(position, vms)).is_some());
    feed
}

#[test]
fn given_no_word_of_the_leader_yet_then_no_slice_is_asked_for_and_then_one_as_new_as_the_leaders() {
    let mut feed = Feed::new(HOST, Seq(4));
    assert_eq!(feed.missing(), None);
    assert!(feed.leader_is_at(Seq(7)));
    assert_eq!(feed.missing(), Some(Seq(7)));
    assert_eq!(
        feed.slice(slice(6, vec![])),
        None,
        "a replica that lags would end guests that should run"
    );
    assert!(feed.slice(slice(8, vec![vm(1, 8)])).is_some());
    assert_eq!((feed.missing(), feed.position()), (None, Seq(8)));
}

#[test]
fn given_a_leader_that_knows_less_than_this_host_then_nothing_is_asked_and_nothing_of_it_counts() {
    let mut feed = Feed::new(HOST, Seq(40));
    assert!(!feed.leader_is_at(Seq(3)));
    assert_eq!(feed.missing(), None);
    assert_eq!(feed.slice(slice(3, vec![])), None);
}

#[test]
fn given_changes_in_order_then_each_counts_once() {
    let mut feed = at(5, vec![vm(1, 2)]);
    assert_eq!(feed.delta(delta(5, 9, vec![vm(2, 8)], &[1])).len(), 2);
    assert_eq!((feed.position(), feed.missing()), (Seq(9), None));
    assert_eq!(feed.delta(delta(5, 9, vec![vm(2, 8)], &[1])), []);
}

#[test]
fn given_a_gap_then_what_is_wanted_counts_at_once_and_what_is_gone_waits_for_the_slice() {
    let mut feed = at(5, vec![vm(1, 2)]);
    assert_eq!(
        feed.delta(delta(7, 9, vec![vm(2, 8)], &[1])),
        [Wish::Vm(Arc::new(vm(2, 8)))]
    );
    assert_eq!((feed.position(), feed.missing()), (Seq(5), Some(Seq(9))));
    assert_eq!(
        feed.slice(slice(8, vec![])),
        None,
        "it was asked for before the change came"
    );
    assert!(feed.slice(slice(9, vec![vm(2, 8)])).is_some());
    assert_eq!(feed.missing(), None);
}

#[test]
fn given_a_change_whose_predecessor_is_not_known_then_a_slice_is_asked_for() {
    let mut feed = at(5, vec![]);
    assert_eq!(
        feed.delta(FeedDelta {
            prev: None,
            ..delta(5, 9, vec![vm(2, 8)], &[])
        })
        .len(),
        1
    );
    assert_eq!(feed.missing(), Some(Seq(9)));
}

#[test]
fn given_a_leader_that_is_ahead_twice_then_the_change_was_missed() {
    let mut feed = at(5, vec![]);
    assert!(feed.leader_is_at(Seq(9)));
    assert_eq!(feed.missing(), None, "it may be on its way");
    assert!(feed.leader_is_at(Seq(9)));
    assert_eq!(feed.missing(), Some(Seq(9)));
}

#[test]
fn given_another_hosts_news_then_nothing_of_it_counts() {
    let mut feed = at(5, vec![vm(1, 2)]);
    let other = HostId::from_bytes([3; 16]);
    assert_eq!(
        feed.slice(HostSlice {
            host: other,
            ..slice(9, vec![])
        }),
        None
    );
    assert_eq!(
        feed.delta(FeedDelta {
            host: other,
            ..delta(5, 9, vec![vm(2, 8)], &[1])
        }),
        []
    );
    assert_eq!(feed.position(), Seq(5));
}

/// One change of the leader's state: a VM that is changed, or that leaves.
type Change = (u8, bool);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn given_a_history_that_arrives_somehow_then_the_host_gets_to_know_all_of_it(
        changes in proptest::collection::vec((1u8..4, any::<bool>()), 1..20),
        arrivals in proptest::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..40),
    ) {
        // The leader's states, by position: position 0 is before the first change.
        let mut states: Vec<BTreeMap<VmId, DesiredVm>> = vec![BTreeMap::new()];
        let mut deltas = Vec::new();
        for (index, (id, leaves)) in changes.iter().copied().enumerate() {
            let (prev, feed) = (index as u64, index as u64 + 1);
            let mut state = states[index].clone();
            deltas.push(change(&mut state, prev, feed, (id, leaves)));
            states.push(state);
        }
        let mut feed = Feed::new(HOST, Seq::ZERO);
        let mut known: BTreeMap<VmId, Arc<DesiredVm>> = BTreeMap::new();
        for (index, is_slice) in arrivals {
            let wishes = if is_slice {
                let position = index.index(states.len());
                // Some replica's state; the leader has said at least as much before.
                feed.leader_is_at(Seq(position as u64));
                let vms = states[position].values().cloned().collect();
                feed.slice(slice(position as u64, vms)).into_iter().collect()
            } else {
                feed.delta(deltas[index.index(deltas.len())].clone())
            };
            take(&mut known, wishes);
        }
        let last = states.len() - 1;
        feed.leader_is_at(Seq(last as u64));
        feed.leader_is_at(Seq(last as u64));
        if let Some(least) = feed.missing() {
            prop_assert!(least <= Seq(last as u64));
            let vms = states[last].values().cloned().collect();
            take(&mut known, feed.slice(slice(last as u64, vms)).into_iter().collect());
        }
        prop_assert_eq!((feed.position(), feed.missing()), (Seq(last as u64), None));
        let wanted: Vec<_> = states[last].values().cloned().collect();
        let known: Vec<_> = known.values().map(|vm| (**vm).clone()).collect();
        prop_assert_eq!(known, wanted);
    }
}

fn change(state: &mut BTreeMap<VmId, DesiredVm>, prev: u64, feed: u64, (id, leaves): Change) -> FeedDelta {
    let key = VmId::from_bytes([id; 16]);
    if leaves {
        state.remove(&key);
        return delta(prev, feed, vec![], &[id]);
    }
    state.insert(key, vm(id, feed));
    delta(prev, feed, vec![vm(id, feed)], &[])
}

fn take(known: &mut BTreeMap<VmId, Arc<DesiredVm>>, wishes: Vec<Wish>) {
    for wish in wishes {
        match wish {
            Wish::Vm(vm) => drop(known.insert(vm.vm, vm)),
            Wish::NotOurs(vm, _) => drop(known.remove(&vm)),
            Wish::All(all, _) => *known = all.into_iter().map(|vm| (vm.vm, vm)).collect(),
        }
    }
}
