//! What replicas say of themselves when they meet: which data directory each has, and which records it reads.

use std::time::Duration;

use chv_domain::*;
use chv_eventlog::{EventLog, OpenError, Unwelcome};

use crate::replicas::Replicas;

const PATIENCE: Duration = Duration::from_secs(20);

/// Appends, through the leader, what it has heard of all replicas; how many events that makes.
async fn introduce(replicas: &Replicas, leader: u64, id: u8) -> Seq {
    let log = replicas.log(leader);
    let all = replicas.all().len();
    let deadline = std::time::Instant::now() + PATIENCE;
    while log.introductions().len() < all {
        assert!(std::time::Instant::now() < deadline, "a replica is not heard of");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let voters = log.membership().voters;
    let report = Command::ReportReplicas {
        voters,
        learners: [].into(),
    };
    let introduced = log.introductions();
    replicas.decide(leader, id, report).await;
    replicas
        .decide(leader, id + 1, Command::IntroduceReplicas { introduced })
        .await;
    log.projection().seq()
}

/// What the others tell this replica.
async fn is_told(log: &EventLog) -> Unwelcome {
    let told = tokio::time::timeout(PATIENCE, log.unwelcome()).await;
    told.expect("nobody tells it")
}

/// Waits until the others tell this replica, which reads format 1, that the cluster writes format 2.
async fn is_told_that_it_is_too_old(log: &EventLog) {
    let told = is_told(log).await;
    assert!(
        matches!(
            told,
            Unwelcome::TooOld {
                needed: 2,
                reads: 1,
                ..
            }
        ),
        "{told:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_directory_was_lost_is_refused_by_the_others_and_told_what_to_do() {
    // given three replicas that know each other's directories
    let mut replicas = Replicas::start(3).await;
    let leader = replicas.leader().await;
    let seq = introduce(&replicas, leader, 100).await;
    replicas.agree_on(seq).await;
    // when another one loses its directory, and is started on a new one under its old number
    let lost = replicas.all().into_iter().find(|at| *at != leader).unwrap();
    replicas.stop(lost).await;
    std::fs::remove_dir_all(replicas.dir(lost)).unwrap();
    replicas.make_anew(lost).await;
    // then it is told so, and what to do,
    let told = is_told(replicas.log(lost)).await;
    assert!(matches!(told, Unwelcome::OtherDirectory { .. }), "{told:?}");
    assert!(told.to_string().contains("replace-replica"), "{told}");
    // and has got nothing of the log, while the others go on
    replicas.register(leader, 1).await;
    assert_eq!(replicas.log(lost).projection().seq(), Seq::ZERO);
    replicas.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_format_is_raised_once_all_read_it_and_older_programs_are_then_refused() {
    // given a cluster of which one replica's program is older
    let mut replicas = Replicas::start_reading(&[3, 3, 2]).await;
    let leader = replicas.leader().await;
    let seq = introduce(&replicas, leader, 100).await;
    replicas.agree_on(seq).await;
    // then what is written is what that one reads
    let format = |log: &EventLog| log.projection().cluster().format();
    assert!(replicas.all().iter().all(|at| format(replicas.log(*at)) == 2));
    // when another one is started with a program that is older still, then it sees that itself, where a snapshot says
    // so, or is told by the others
    let other = replicas.all().into_iter().find(|at| *at != leader).unwrap();
    replicas.stop(other).await;
    replicas.reads(other, 1);
    match replicas.try_start_again(other).await {
        Err(refused) => assert!(
            matches!(refused, OpenError::TooOld { needed: 2, reads: 1 }),
            "{refused}"
        ),
        Ok(()) => is_told_that_it_is_too_old(replicas.log(other)).await,
    }
    // and so is one that is new to the cluster
    replicas.reads(7, 1);
    let address = replicas.join(7).await;
    let seven = ReplicaId::new(7).unwrap();
    replicas.log(leader).add_learner(seven, address).await.unwrap();
    is_told_that_it_is_too_old(replicas.log(7)).await;
    assert_eq!(replicas.log(7).projection().seq(), Seq::ZERO);
    replicas.end().await;
}
