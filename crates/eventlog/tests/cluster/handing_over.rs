//! Leadership that is handed over on purpose, and one that came back.

use std::time::{Duration, Instant};

use chv_domain::Seq;
use chv_eventlog::StepDownError;

use crate::replicas::Replicas;

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_steps_down_is_followed_by_one_that_has_all_of_its_log() {
    // given three replicas that agree
    let mut replicas = Replicas::start(3).await;
    let leader = replicas.leader().await;
    for number in 1..=10 {
        replicas.register(leader, number).await;
    }
    // when the leader steps down, once it has led for a lease
    let begun = Instant::now();
    let heir = replicas.log(leader).step_down().await.unwrap();
    // then the one that was picked leads before anybody's patience is over, and goes on where it ended
    let next = replicas.leader().await;
    assert_eq!(next, heir.get());
    assert!(
        begun.elapsed() < Duration::from_millis(1900),
        "{:?}",
        begun.elapsed()
    );
    replicas.register(next, 11).await;
    replicas.agree_on(Seq(11)).await;
    // and a replica that does not lead has nothing to hand over
    let refused = replicas.log(leader).step_down().await;
    assert!(matches!(refused, Err(StepDownError::NotLeader)));
    replicas.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_stays_where_no_other_replica_is_able_to_lead() {
    let mut replicas = Replicas::start(3).await;
    let leader = replicas.leader().await;
    replicas.register(leader, 1).await;
    for at in replicas.all().into_iter().filter(|at| *at != leader) {
        replicas.log(at).able_to_lead(false);
    }
    let refused = replicas.log(leader).step_down().await;
    assert!(matches!(refused, Err(StepDownError::NoHeir(_))), "{refused:?}");
    replicas.register(leader, 2).await;
    replicas.end().await;

    let mut alone = Replicas::start(1).await;
    alone.leader().await;
    assert!(matches!(
        alone.log(1).step_down().await,
        Err(StepDownError::NoHeir(_))
    ));
    alone.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_led_and_comes_back_follows_who_leads_now() {
    let mut replicas = Replicas::start(3).await;
    // Given one leader after the other that ends, at least one of them with a higher id than the next,
    for number in 1..=3 {
        let leader = replicas.leader().await;
        replicas.register(leader, 2 * number - 1).await;
        replicas.stop(leader).await;
        let next = replicas.leader().await;
        let term = replicas.log(next).status().term;
        // when each comes back and takes in what it missed,
        replicas.start_again(leader).await;
        replicas.register(next, 2 * number).await;
        replicas.agree_on(Seq(2 * u64::from(number))).await;
        // then the other one leads on.
        assert_eq!(replicas.leader().await, next);
        assert_eq!(replicas.log(next).status().term, term);
    }
    replicas.end().await;
}
