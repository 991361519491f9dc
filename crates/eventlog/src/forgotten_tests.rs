//! What retention forgets is gone on every replica, also on one that was away and on one that came later; what is kept
//! stays readable, provable, and enough for an archive.

use std::collections::BTreeMap;
use std::time::Duration;

use chv_domain::*;

use crate::archive::{Restore, collect, restore, verify};
use crate::history::checkpoint;
use crate::offline::{self, ClosedDir};
use crate::open::HISTORY;
use crate::purged_tests::{
    LIMIT, PATIENCE, about, finds, id, leader, open, opened, reach, register, register_and_purge, start,
};
use crate::testing::{address, host};
use crate::{EventLog, PastError, ReadError, Search};

/// Records through whoever leads that history up to `upto` is forgotten.
async fn forget(logs: &BTreeMap<u64, EventLog>, upto: u64) {
    let forgotten = async {
        loop {
            let log = &logs[&leader(logs).await];
            let state = log.projection();
            let record = Record::new(RecordBody {
                first: state.seq().next(),
                term: log.status().term,
                time: state.time(),
                actor: "replica/1".parse().unwrap(),
                cause: Cause {
                    command: CommandId::from_bytes([7; 16]),
                    verb: Verb::ClusterForgetHistory,
                    follows: None,
                },
                trace: None,
                prev: state.hash(),
                events: vec![Event::HistoryForgotten {
                    forgotten: Forgotten {
                        upto: Seq(upto),
                        kept_from: state.time(),
                    },
                }],
            });
            let batch = Batch {
                published: state.seq(),
                records: vec![record],
            };
            if let Ok(BatchOutcome::Applied { .. }) = log.append(batch).await {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, forgotten)
        .await
        .expect("nobody takes it");
}

/// Waits until the sealed history of `log` is the events from `oldest` on, without any before.
async fn keeps_from(log: &EventLog, oldest: u64) {
    let history = log.inner.history.clone();
    let trimmed = async {
        let mut span = history.span();
        loop {
            let first = history.files().first().map(|file| file.first);
            let whole = span
                .borrow_and_update()
                .is_some_and(|span| Some(span.oldest) == first);
            if whole && first == Some(Seq(oldest)) {
                return;
            }
            span.changed().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, trimmed)
        .await
        .unwrap_or_else(|_| panic!("it has {:?}", log.inner.history.files()));
}

/// Reads before what is kept say what there is, and what is kept is found.
async fn serves_from(log: &EventLog, oldest: u64) {
    let gone =
        |error: &ReadError| matches!(error, ReadError::Gone { oldest: first, .. } if *first == Seq(oldest));
    for from in [0, 1, oldest - 1] {
        assert!(
            gone(&log.read(Seq(from), 9, 1 << 20).await.unwrap_err()),
            "{from}"
        );
    }
    assert!(gone(&log.find(&about(3, 1), LIMIT).await.unwrap_err()));
    assert_eq!(log.read(Seq(oldest), 1, 1).await.unwrap()[0].first, Seq(oldest));
    let everything = Search::default();
    let found = log.find(&everything, LIMIT).await.unwrap();
    assert_eq!(
        (found.kept.oldest, found.records[0].first),
        (Seq(oldest), Seq(oldest))
    );
    for number in [20, 40] {
        finds(log, number, oldest).await;
    }
    match log.projection_at(Seq(oldest - 1)).await {
        Err(PastError::Read(error)) => assert!(gone(&error), "{error}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forgotten_is_gone_everywhere_and_what_is_kept_stays_whole() {
    // Given a replica that has some history and is away while more is made, sealed and purged,
    let temp = tempfile::tempdir().unwrap();
    let dir = |number: u64| temp.path().join(number.to_string());
    let (mut peers, mut logs) = start(temp.path()).await;
    let first = leader(&logs).await;
    for number in 1..=10 {
        register(&logs, number).await;
    }
    let away = (1..=3).find(|number| *number != first).unwrap();
    reach(&logs[&away], Seq(10)).await;
    let had = logs[&away].status().applied_index;
    logs.remove(&away).unwrap().shutdown().await;
    register_and_purge(&logs, 11, 40, had).await;

    // when history is forgotten up to where a file ends,
    forget(&logs, 16).await;
    // then it is gone from those that are here, whose states of the past go on from there,
    for log in logs.values() {
        reach(log, Seq(41)).await;
        keeps_from(log, 17).await;
        serves_from(log, 17).await;
        let then = log.projection_at(Seq(17)).await.unwrap();
        assert!(then.host(host(17)).is_some() && then.host(host(18)).is_none());
    }
    // from the one that was away,
    logs.insert(away, open(dir(away), away, &peers).await);
    reach(&logs[&away], Seq(41)).await;
    keeps_from(&logs[&away], 17).await;
    serves_from(&logs[&away], 17).await;
    has_the_past(&logs[&away], 17).await;
    // and a new one never gets it.
    let fourth = address();
    peers.insert(id(4), fourth);
    EventLog::init(&dir(4), ClusterId::from_bytes([9; 16]), id(4)).unwrap();
    let new = opened(dir(4), 4, &peers, false).await;
    let added = async {
        while logs[&leader(&logs).await]
            .add_learner(id(4), fourth)
            .await
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, added)
        .await
        .expect("no learner is added");
    reach(&new, Seq(41)).await;
    keeps_from(&new, 17).await;
    serves_from(&new, 17).await;
    has_the_past(&new, 17).await;
    logs.insert(4, new);

    // What is left is sound, says where it begins, and makes an archive that a cluster can begin with.
    for log in std::mem::take(&mut logs).into_values() {
        log.shutdown().await;
    }
    for number in 1..=4 {
        let verified = offline::verify(&ClosedDir::open(&dir(number)).unwrap(), &mut |_| {});
        assert!(verified.is_sound(), "{:?}", verified.findings);
        assert_eq!(verified.first_seq, Some(Seq(17)));
        // From the state before what is kept on, its snapshots are what the records fold to.
        assert_eq!(verified.base_seq, Some(Seq(16)), "{number}");
        assert!(
            verified.snapshots_compared > 0 && verified.snapshots_alone == 0,
            "{verified:?}"
        );
    }
    let base = checkpoint::oldest_from(&dir(away).join(HISTORY), Seq(16)).unwrap();
    let (file, mut bytes) = base.unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let verified = offline::verify(&ClosedDir::open(&dir(away)).unwrap(), &mut |_| {});
    assert_eq!(verified.findings[0].file, file);
    let archive = temp.path().join("a.chv");
    let archived = collect(&ClosedDir::open(&dir(first)).unwrap(), &archive, &mut |_| {}).unwrap();
    assert_eq!(archived.first_seq, Seq(17));
    // It begins with the state before those, and is proved from there on.
    let verified = verify(&archive, &mut |_| {}).unwrap();
    assert!(verified.is_sound(), "{:?}", verified.findings);
    assert_eq!(
        (verified.base_seq, verified.snapshots_compared),
        (Some(Seq(16)), 1)
    );
    let order = Restore {
        archive,
        dir: temp.path().join("restored"),
        cluster: None,
        replica: id(9),
        address: address(),
        now: Timestamp(9),
        command: CommandId::from_bytes([8; 16]),
    };
    assert_eq!(restore(&order, &mut |_| {}).unwrap().first, Seq(17));
    // Restored, it has states of the past too, from the one before what is kept on.
    let log = opened(order.dir, 9, &BTreeMap::from([(id(9), order.address)]), false).await;
    has_the_past(&log, 17).await;
    log.shutdown().await;
}

/// Waits until the state after the first kept event can be had, once the one before it was fetched.
async fn has_the_past(log: &EventLog, oldest: u8) {
    let folded = async {
        loop {
            match log.projection_at(Seq(oldest.into())).await {
                Ok(then) => return then,
                Err(PastError::Elsewhere { .. }) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    let then = tokio::time::timeout(PATIENCE, folded)
        .await
        .expect("no state to begin with");
    assert!(then.host(host(oldest)).is_some() && then.host(host(oldest + 1)).is_none());
}
