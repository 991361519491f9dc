//! Three replicas over loopback in one process: what was acknowledged stays, whoever ends and comes back.

#![allow(clippy::unwrap_used, unreachable_pub)] // a test binary: a panic is its failure

#[allow(dead_code)] // the tests of `net::tls` use the rest of it
mod authority;
mod handing_over;
mod introduced;
mod membership;
mod reading;
mod replicas;
mod strangers;
#[path = "../../src/testing.rs"]
mod testing;

use std::time::Duration;

use chv_domain::{Batch, BatchOutcome, Resource, Seq, Term};
use chv_eventlog::{AppendError, Limit, Search};

use replicas::Replicas;
use testing::{host, record};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_on_every_replica_after_the_leader_ends_and_comes_back() {
    // given three replicas with some events
    let mut replicas = Replicas::start(3).await;
    let leader = replicas.leader().await;
    for number in 1..=20 {
        replicas.register(leader, number).await;
    }

    // when the leader ends, another one leads and appends, and the first comes back
    replicas.stop(leader).await;
    let next = replicas.leader().await;
    assert_ne!(next, leader);
    for number in 21..=40 {
        replicas.register(next, number).await;
    }
    replicas.start_again(leader).await;

    // then all three hold the same, and it is all there
    let digest = replicas.agree_on(Seq(40)).await;
    for at in replicas.all() {
        let state = replicas.log(at).projection();
        assert_eq!(state.digest(), digest);
        assert!((1..=40).all(|number| state.host(host(number)).is_some()));
    }
    replicas.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_replicas_restarted_serve_at_once_what_they_had_applied() {
    let mut replicas = Replicas::start(3).await;
    let leader = replicas.leader().await;
    for number in 1..=30 {
        replicas.register(leader, number).await;
    }
    let digest = replicas.agree_on(Seq(30)).await;

    for at in replicas.all() {
        replicas.stop(at).await;
    }
    // One alone can't know what is committed but by what it noted.
    replicas.start_again(2).await;
    assert_eq!(replicas.log(2).projection().digest(), digest);

    replicas.start_again(1).await;
    replicas.start_again(3).await;
    let leader = replicas.leader().await;
    replicas.register(leader, 31).await;
    replicas.agree_on(Seq(31)).await;
    replicas.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_another_term_is_dropped_by_every_replica() {
    let mut replicas = Replicas::start(3).await;
    let leader = replicas.leader().await;
    replicas.register(leader, 1).await;

    let log = replicas.log(leader);
    let (state, term) = (log.projection(), log.status().term);
    let stale = record(&state, Term(term.0 + 7), 2);
    let outcome = log
        .append(Batch {
            published: Seq::ZERO,
            records: vec![stale],
        })
        .await
        .unwrap();
    assert_eq!(outcome, BatchOutcome::Dropped);

    replicas.register(leader, 3).await;
    replicas.agree_on(Seq(2)).await;
    for at in replicas.all() {
        assert!(replicas.log(at).projection().host(host(2)).is_none());
        let read = replicas.log(at).read(Seq(1), 100, 1 << 20).await.unwrap();
        assert_eq!(
            read.iter().map(|record| record.first.0).collect::<Vec<_>>(),
            [1, 2]
        );
    }
    replicas.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_read_from_any_seq_and_found_by_what_they_are_about() {
    let mut replicas = Replicas::start(3).await;
    let leader = replicas.leader().await;
    for number in 1..=60 {
        replicas.register(leader, number).await;
    }
    replicas.agree_on(Seq(60)).await;
    for at in replicas.all() {
        let log = replicas.log(at);
        let page = log.read(Seq(17), 5, 1 << 20).await.unwrap();
        assert_eq!(
            page.iter().map(|record| record.first.0).collect::<Vec<_>>(),
            [17, 18, 19, 20, 21]
        );
        assert!(log.read(Seq(61), 5, 1 << 20).await.unwrap().is_empty());

        let limit = Limit {
            records: 10,
            bytes: 1 << 20,
        };
        let about = Search {
            resource: Some(Resource::Host(host(33))),
            ..Search::default()
        };
        let by = Search {
            actor: Some("host/h40".parse().unwrap()),
            ..Search::default()
        };
        let of = Search {
            command: Some(page[0].cause.command),
            ..Search::default()
        };
        for (search, first) in [(about, 33), (by, 40), (of, 17)] {
            let found = log.find(&search, limit).await.unwrap();
            let firsts: Vec<_> = found.records.iter().map(|record| record.first.0).collect();
            assert_eq!(firsts, [first]);
        }
    }
    replicas.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_missing_index_is_made_again_from_the_log() {
    let mut replicas = Replicas::start(1).await;
    let leader = replicas.leader().await;
    for number in 1..=25 {
        replicas.register(leader, number).await;
    }
    for damage in ["missing", "junk"] {
        replicas.stop(1).await;
        let index = replicas.dir(1).join("index");
        std::fs::remove_dir_all(&index).unwrap();
        if damage == "junk" {
            std::fs::create_dir(&index).unwrap();
            std::fs::write(index.join("db"), [0x5a; 4096]).unwrap();
            std::fs::write(index.join("conf"), [0x5a; 64]).unwrap();
        }
        replicas.start_again(1).await;
        let search = Search {
            resource: Some(Resource::Host(host(25))),
            ..Search::default()
        };
        let limit = Limit {
            records: 10,
            bytes: 1 << 20,
        };
        let found = replicas.log(1).find(&search, limit).await.unwrap();
        assert_eq!(found.records[0].first, Seq(25), "{damage}");
    }
    replicas.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_larger_than_an_entry_may_be_is_refused_and_nothing_of_it_is_there() {
    let mut replicas = Replicas::start(1).await;
    let leader = replicas.leader().await;
    replicas.register(leader, 1).await;
    let log = replicas.log(leader);
    let record = record(&log.projection(), log.status().term, 2);
    let batch = Batch {
        published: Seq::ZERO,
        records: vec![record; 150_000],
    };
    let refused = log.append(batch).await.unwrap_err();
    assert!(
        matches!(refused, AppendError::TooLarge { size } if size > 16 << 20),
        "{refused}"
    );
    assert_eq!(log.projection().seq(), Seq(1));
    replicas.register(leader, 2).await;
    replicas.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_nothing_is_acknowledged() {
    let mut replicas = Replicas::start(3).await;
    let leader = replicas.leader().await;
    replicas.register(leader, 1).await;
    for at in replicas.all().into_iter().filter(|at| *at != leader) {
        replicas.stop(at).await;
    }
    let log = replicas.log(leader);
    let batch = Batch {
        published: Seq::ZERO,
        records: vec![record(&log.projection(), log.status().term, 2)],
    };
    let refused = log.append(batch).await.unwrap_err();
    assert!(
        matches!(refused, AppendError::Timeout | AppendError::NotLeader),
        "{refused}"
    );
    assert!(log.confirm_leadership().await.is_err());
    assert_eq!(log.projection().seq(), Seq(1));
    replicas.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_opened_by_one_process_and_for_its_own_replica_only() {
    let mut replicas = Replicas::start(1).await;
    let second = replicas.try_open_again(1).await;
    assert!(second.err().unwrap().to_string().contains("in use"));
    replicas.stop(1).await;

    let other = tempfile::tempdir().unwrap();
    let missing = replicas.try_open(other.path()).await;
    assert!(missing.err().unwrap().to_string().contains("chv-scheduler init"));
    tokio::time::timeout(Duration::from_secs(5), replicas.end())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_know_the_secret_is_turned_away() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    // given a replica, and a caller that knows how to speak but not the secret
    let mut replicas = Replicas::start(1).await;
    let mut stranger = tokio::net::TcpStream::connect(replicas.address(1)).await.unwrap();
    // when it greets (protocol 1, from 2, to 1, no secret)
    let hello = [0x08, 1, 0x18, 2, 0x20, 1];
    stranger.write_u32(hello.len() as u32).await.unwrap();
    stranger.write_all(&hello).await.unwrap();
    // then it is told so, and the connection ends
    let mut answer = Vec::new();
    let told = tokio::time::timeout(Duration::from_secs(5), stranger.read_to_end(&mut answer)).await;
    told.expect("the connection stays open").unwrap();
    assert!(String::from_utf8_lossy(&answer).contains("secret is another one"));
    // and a greeting that claims to be huge takes no memory: the connection ends at its length
    let mut huge = tokio::net::TcpStream::connect(replicas.address(1)).await.unwrap();
    huge.write_u32(u32::MAX).await.unwrap();
    let told = tokio::time::timeout(Duration::from_secs(5), huge.read_to_end(&mut answer)).await;
    told.expect("the connection stays open").unwrap();
    replicas.end().await;
}
