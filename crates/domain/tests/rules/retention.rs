//! How much of history is kept: who may say so, and that what is forgotten never comes back and was published.

use chv_domain::*;
use proptest::prelude::*;

use crate::history::{Cluster, START, TERM, create, kinds, spec};

fn keep(bytes: u64) -> Command {
    let keep_size = KeepSize::from_bytes(bytes).ok();
    let retention = Retention {
        keep_size,
        ..Retention::FOREVER
    };
    Command::SetRetention { retention }
}

fn forget(upto: u64) -> Command {
    let forgotten = Forgotten {
        upto: Seq(upto),
        kept_from: START,
    };
    Command::ForgetHistory { forgotten }
}

fn publish(cluster: &mut Cluster, upto: Seq) {
    let batch = Batch {
        published: upto,
        records: Vec::new(),
    };
    cluster.state.apply_batch(TERM, &batch);
}

#[test]
fn given_a_limit_when_history_is_beyond_it_then_it_is_forgotten_once() {
    let mut cluster = Cluster::with_hosts(3);
    assert_eq!(
        kinds(&cluster.send("alice", keep(1 << 20)).unwrap()),
        ["retention-set"]
    );
    assert_eq!(kinds(&cluster.send("alice", keep(1 << 20)).unwrap()), [""; 0]);
    assert_eq!(
        cluster.send("replica/1", forget(2)).unwrap_err().code,
        RejectionCode::Invalid
    );
    publish(&mut cluster, Seq(4));
    assert_eq!(
        cluster.send("alice", forget(2)).unwrap_err().code,
        RejectionCode::NotPermitted
    );
    assert_eq!(
        kinds(&cluster.send("replica/1", forget(2)).unwrap()),
        ["history-forgotten"]
    );
    assert_eq!(cluster.state.cluster().oldest_kept(), Seq(3));
    assert_eq!(kinds(&cluster.send("replica/1", forget(2)).unwrap()), [""; 0]);
    // It was found before somebody lifted the limit, and is decided after.
    cluster.send("alice", keep(0)).unwrap();
    assert_eq!(kinds(&cluster.send("replica/1", forget(3)).unwrap()), [""; 0]);
}

#[test]
fn only_a_batch_that_says_nothing_but_what_is_forgotten_makes_room() {
    let mut cluster = Cluster::with_hosts(3);
    cluster.send("alice", keep(1 << 20)).unwrap();
    publish(&mut cluster, Seq(4));
    let mut record = |actor, command| match cluster.send(actor, command) {
        Ok(Decided::Record(record)) => record,
        other => panic!("{other:?}"),
    };
    let forgotten = record("replica/1", forget(2));
    let created = record("alice", create("vm", spec(1, 1)));
    let makes_room = |records: &[&Record]| {
        let records = records.iter().copied().cloned().collect();
        let published = Seq::ZERO;
        Batch { published, records }.makes_room()
    };
    assert!(makes_room(&[&forgotten]));
    assert!(!makes_room(&[]) && !makes_room(&[&created]) && !makes_room(&[&forgotten, &created]));
}

proptest! {
    #[test]
    fn over_any_history_only_what_was_published_is_forgotten_and_for_good(
        moves in prop::collection::vec((0u8..4, 0u64..30), 0..60)
    ) {
        let mut cluster = Cluster::with_hosts(1);
        for (at, (kind, number)) in moves.into_iter().enumerate() {
            let (before, published) = (cluster.state.cluster().oldest_kept(), cluster.state.published());
            // The invariants are checked after each record.
            let _ = match kind {
                0 => cluster.send("alice", keep(number)),
                1 => cluster.send("replica/1", forget(number)),
                2 => cluster.send("alice", create(&format!("vm{at}"), spec(1, 1))),
                _ => {
                    let upto = cluster.state.seq().min(Seq(number));
                    publish(&mut cluster, upto);
                    continue;
                }
            };
            let after = cluster.state.cluster().oldest_kept();
            prop_assert!(before <= after);
            prop_assert!(after == before || after <= published.next());
        }
    }
}
