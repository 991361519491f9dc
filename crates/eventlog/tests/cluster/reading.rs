//! Reading: any search, page by page and in either order, finds what a look at every record finds.

use chv_domain::*;
use chv_eventlog::{IndexState, Kept, Limit, Order, ReadError, Search};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use crate::replicas::Replicas;
use crate::testing::host;

/// A few of each, so that searches meet.
fn actor(number: u8) -> Actor {
    format!("user-{number}").parse().unwrap()
}

fn command(number: u8) -> CommandId {
    CommandId::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, number])
}

/// What a record is made of: who, which command, how long after the one before, about which hosts.
type Made = (u8, u8, u64, Vec<u8>);

fn made() -> impl Strategy<Value = Made> {
    (
        0..4_u8,
        0..30_u8,
        0..3_u64,
        proptest::collection::vec(0..5_u8, 1..5),
    )
}

fn searches(last: u64) -> impl Strategy<Value = Search> {
    let seq = 0..last + 10;
    let time = 0..2 * last;
    (
        proptest::option::weighted(0.5, 0..5_u8),
        proptest::option::weighted(0.4, 0..5_u8),
        proptest::option::weighted(0.2, 0..30_u8),
        proptest::option::of(time.clone()),
        proptest::option::of(time),
        proptest::option::of(seq),
        any::<bool>(),
    )
        .prop_map(|(about, by, of, since, until, begin, newest_first)| Search {
            resource: about.map(|number| Resource::Host(host(number))),
            actor: by.map(actor),
            command: of.map(command),
            since: since.map(Timestamp),
            until: until.map(Timestamp),
            order: if newest_first {
                Order::NewestFirst
            } else {
                Order::OldestFirst
            },
            begin: begin.map(Seq),
        })
}

fn record(state: &Projection, term: Term, (who, of, later, about): &Made) -> Record {
    Record::new(RecordBody {
        first: state.seq().next(),
        term,
        time: Timestamp(state.time().0 + later),
        actor: actor(*who),
        cause: Cause {
            command: command(*of),
            verb: Verb::HostCordon,
            follows: None,
        },
        trace: None,
        prev: state.hash(),
        events: about
            .iter()
            .map(|number| Event::HostCordoned { host: host(*number) })
            .collect(),
    })
}

async fn append(replicas: &Replicas, at: u64, records: &[Made]) {
    let log = replicas.log(at);
    let term = log.status().term;
    let mut state = log.projection();
    let mut batch = Batch::default();
    for made in records {
        let record = record(&state, term, made);
        let one = Batch {
            published: Seq::ZERO,
            records: vec![record.clone()],
        };
        state.apply_batch(term, &one);
        batch.records.push(record);
    }
    let outcome = log.append(batch).await.unwrap();
    assert_eq!(outcome, BatchOutcome::Applied { last: state.seq() });
}

/// The events that a look at every record finds.
fn expected(all: &[Record], search: &Search) -> Vec<u64> {
    let begins = |seq: Seq| match (search.begin, search.order) {
        (None, _) => true,
        (Some(begin), Order::OldestFirst) => seq >= begin,
        (Some(begin), Order::NewestFirst) => seq <= begin,
    };
    let fits = |record: &&Record| {
        search.actor.as_ref().is_none_or(|actor| *actor == record.actor)
            && search
                .command
                .is_none_or(|command| command == record.cause.command)
            && search.since.is_none_or(|since| record.time >= since)
            && search.until.is_none_or(|until| record.time < until)
    };
    let mut found: Vec<u64> = all
        .iter()
        .filter(fits)
        .flat_map(|record| record.numbered())
        .filter(|(seq, event)| begins(*seq) && search.resource.is_none_or(|about| about == event.resource()))
        .map(|(seq, _)| seq.0)
        .collect();
    if search.order == Order::NewestFirst {
        found.reverse();
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn any_search_finds_the_same_as_a_look_at_every_record() {
    // Given a log of records with several events, some at the same time,
    let mut runner = TestRunner::deterministic();
    let mut replicas = Replicas::start(1).await;
    let leader = replicas.leader().await;
    let batches = proptest::collection::vec(proptest::collection::vec(made(), 30..40), 20);
    for batch in batches.new_tree(&mut runner).unwrap().current() {
        append(&replicas, leader, &batch).await;
    }
    let log = replicas.log(leader);
    let all = log.read(Seq(1), usize::MAX, usize::MAX).await.unwrap();
    let last = log.projection().seq();
    assert!(last > Seq(1100), "too few events for two keys of times: {last}");

    // when it is searched in any way, in pages of any size,
    let cases = (searches(last.0), 3..200_usize, 500..60_000_usize);
    for _ in 0..100 {
        let (search, records, bytes) = cases.new_tree(&mut runner).unwrap().current();
        let (mut page, mut found, mut pages) = (search.clone(), Vec::new(), 0);
        loop {
            let got = log.find(&page, Limit { records, bytes }).await.unwrap();
            assert!(got.records.len() <= records, "{page:?}");
            for record in &got.records {
                let mut events: Vec<_> = record
                    .numbered()
                    .filter(|(seq, event)| {
                        (got.low..=got.high).contains(seq)
                            && search.resource.is_none_or(|about| about == event.resource())
                    })
                    .map(|(seq, _)| seq.0)
                    .collect();
                if search.order == Order::NewestFirst {
                    events.reverse();
                }
                found.extend(events);
            }
            pages += 1;
            assert!(pages < 2000, "no end: {page:?}");
            match got.next {
                Some(next) => page.begin = Some(next),
                None => break,
            }
        }
        // then the pages together hold what fits, once and in order.
        assert_eq!(found, expected(&all, &search), "{search:?}, {records} records");
    }
    let kept = log.kept().await.unwrap();
    assert_eq!(kept, Kept { oldest: Seq(1), last });
    replicas.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn past_the_end_is_empty_and_says_where_the_end_is() {
    let mut replicas = Replicas::start(1).await;
    let leader = replicas.leader().await;
    append(&replicas, leader, &[(1, 1, 1, vec![1, 2])]).await;
    let search = Search {
        begin: Some(Seq(100)),
        ..Search::default()
    };
    let limit = Limit {
        records: 10,
        bytes: 1 << 20,
    };
    let found = replicas.log(leader).find(&search, limit).await.unwrap();
    assert_eq!((found.records.len(), found.next), (0, None));
    assert_eq!(found.kept.last, Seq(2));
    replicas.end().await;
}

/// The index, once the replica that ended has let go of it.
async fn opened(path: &std::path::Path) -> sled::Db {
    let opening = async {
        loop {
            match sled::open(path) {
                Ok(index) => break index,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            }
        }
    };
    let opened = tokio::time::timeout(std::time::Duration::from_secs(10), opening).await;
    opened.expect("the index stays locked")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_lies_anywhere_is_found_out_and_made_again() {
    // Given an index whose end agrees with the log,
    let mut replicas = Replicas::start(1).await;
    let leader = replicas.leader().await;
    let records: Vec<Made> = (0..=255)
        .chain(0..44)
        .map(|number: u8| (number % 4, number % 30, 1, vec![number % 5]))
        .collect();
    append(&replicas, leader, &records).await;
    let about = Search {
        resource: Some(Resource::Host(host(3))),
        ..Search::default()
    };
    let limit = Limit {
        records: 100,
        bytes: 1 << 20,
    };
    let right = replicas.log(leader).find(&about, limit).await.unwrap();
    assert_eq!(right.records.len(), 60);
    let damages = [
        "a block is gone",
        "a print is gone",
        "a print is too much",
        "another form",
    ];
    for damage in damages {
        // which somewhere holds another thing than it should,
        replicas.stop(1).await;
        {
            let index = opened(&replicas.dir(1).join("index")).await;
            let blocks = index.open_tree("blocks").unwrap();
            let marks = index.open_tree("marks").unwrap();
            let ((first, full), (last, open)) =
                (blocks.first().unwrap().unwrap(), blocks.last().unwrap().unwrap());
            match damage {
                "a block is gone" => drop(blocks.remove(first).unwrap()),
                "a print is gone" => drop(blocks.insert(last, &open[..open.len() - 4]).unwrap()),
                "a print is too much" => {
                    drop(blocks.insert(first, [&full[..], &[0xff; 4]].concat()).unwrap());
                }
                _ => drop(marks.insert("form", &[0, 0, 0, 1]).unwrap()),
            }
            index.flush().unwrap();
        }
        // when the replica is started,
        replicas.start_again(1).await;
        let log = replicas.log(1);
        let verified = async {
            loop {
                let health = log.status().index;
                if health.state == IndexState::Ready && health.verified == Seq(300) {
                    break health;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        let health = tokio::time::timeout(std::time::Duration::from_secs(20), verified).await;
        // then it is made again, and agrees.
        let rebuilt = u32::from(damage != "another form");
        assert_eq!(health.expect(damage).rebuilt, rebuilt, "{damage}");
        assert_eq!(log.find(&about, limit).await.unwrap(), right, "{damage}");
    }
    replicas.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_that_nothing_fits_ends() {
    let mut replicas = Replicas::start(1).await;
    let leader = replicas.leader().await;
    append(&replicas, leader, &[(1, 1, 5, vec![1])]).await;
    let nothing = Search {
        actor: Some(actor(9)),
        until: Some(Timestamp(2)),
        ..Search::default()
    };
    let limit = Limit {
        records: 10,
        bytes: 1 << 20,
    };
    let found = replicas.log(leader).find(&nothing, limit).await;
    assert!(matches!(&found, Ok(found) if found.next.is_none()), "{found:?}");
    assert!(!matches!(found, Err(ReadError::Gone { .. })));
    replicas.end().await;
}
