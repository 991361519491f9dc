//! The log's membership changes while it is written to.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chv_domain::{ReplicaId, Seq};

use crate::replicas::Replicas;

fn ids(numbers: &[u64]) -> BTreeSet<ReplicaId> {
    numbers
        .iter()
        .map(|number| ReplicaId::new(*number).unwrap())
        .collect()
}

/// Waits until `number`, a learner, has the log that the leader has.
async fn caught_up(replicas: &Replicas, leader: u64, number: u64) {
    let (deadline, replica) = (
        Instant::now() + Duration::from_secs(20),
        ReplicaId::new(number).unwrap(),
    );
    loop {
        let membership = replicas.log(leader).membership();
        if membership.progress.get(&replica) == Some(&membership.last) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "replica {number} stays behind: {membership:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replica_grows_to_three_while_it_is_written_to() {
    // given a cluster of one with some events
    let mut replicas = Replicas::start(1).await;
    let leader = replicas.leader().await;
    for number in 1..=15 {
        replicas.register(leader, number).await;
    }
    // when two more are added, each taught before it votes, and commands go on
    for new in [2, 3] {
        let address = replicas.join(new).await;
        let log = replicas.log(leader).clone();
        log.add_learner(ReplicaId::new(new).unwrap(), address)
            .await
            .unwrap();
        replicas.register(leader, 14 + 2 * new as u8).await;
        caught_up(&replicas, leader, new).await;
        log.change_voters(&ids(&(1..=new).collect::<Vec<_>>()))
            .await
            .unwrap();
        replicas.register(leader, 15 + 2 * new as u8).await;
    }
    // then all three hold the same, and the first can go
    replicas.agree_on(Seq(19)).await;
    assert_eq!(replicas.log(2).membership().voters.len(), 3);
    replicas.stop(leader).await;
    let next = replicas.leader().await;
    replicas.register(next, 30).await;
    replicas.agree_on(Seq(20)).await;
    replicas.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_replica_is_replaced_and_its_successor_counts() {
    let mut replicas = Replicas::start(3).await;
    let leader = replicas.leader().await;
    replicas.register(leader, 1).await;
    // given one that is gone for good
    let dead = replicas.all().into_iter().find(|at| *at != leader).unwrap();
    replicas.stop(dead).await;
    // when another takes its place
    let address = replicas.join(4).await;
    let log = replicas.log(leader).clone();
    log.add_learner(ReplicaId::new(4).unwrap(), address)
        .await
        .unwrap();
    caught_up(&replicas, leader, 4).await;
    let voters: Vec<_> = (1..=4).filter(|number| *number != dead).collect();
    log.change_voters(&ids(&voters)).await.unwrap();
    replicas.register(leader, 2).await;
    replicas.agree_on(Seq(2)).await;
    // then a majority is two of the new three: another one may go
    let spare = voters
        .iter()
        .copied()
        .find(|at| *at != leader && *at != 4)
        .unwrap();
    replicas.stop(spare).await;
    replicas.register(leader, 3).await;
    replicas.agree_on(Seq(3)).await;
    replicas.end().await;
}
