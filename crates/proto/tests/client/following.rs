//! Following: every event once, in order, without a hole, whatever the live messages do.

use chv_domain::{CommandId, Seq};
use chv_proto::client::follow::{self, Events, Filter, FollowError};
use chv_proto::subject::{EVENTS, TICK};

use crate::broker::{Broker, PATIENCE, eventually};
use crate::fake_log::{FakeLog, event, vm_of};

/// The numbers of the next events.
async fn next(events: &mut Events, count: usize) -> Vec<u64> {
    let mut seqs = Vec::new();
    for _ in 0..count {
        let event = tokio::time::timeout(PATIENCE, events.recv()).await;
        let event = event.unwrap_or_else(|_| panic!("no event after {seqs:?}"));
        seqs.push(event.unwrap_or_else(|| panic!("the end after {seqs:?}")).seq);
    }
    seqs
}

/// The next events are exactly these.
async fn expect(events: &mut Events, range: std::ops::RangeInclusive<u64>) {
    let expected: Vec<_> = range.collect();
    assert_eq!(next(events, expected.len()).await, expected);
}

/// Why it ended.
async fn end(events: &mut Events) -> FollowError {
    let ended = async { while events.recv().await.is_some() {} };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
    events.failure().unwrap()
}

#[tokio::test]
async fn given_a_log_of_many_pages_then_it_is_read_from_the_number_given_and_goes_on_live() {
    let broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    let log = FakeLog::start(&scheduler, 350).await;
    let mut events = follow::events(&alice, Seq(20), Filter::default());
    expect(&mut events, 20..=350).await;
    let reads = log.reads();
    log.go_on_to(360).await;
    expect(&mut events, 351..=360).await;
    assert_eq!(log.reads(), reads, "live events need no reading");
}

#[tokio::test]
async fn given_an_event_is_whole_then_it_arrives_whole() {
    let broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    let log = FakeLog::start(&scheduler, 1).await;
    let mut events = follow::events(&alice, Seq::ZERO, Filter::default());
    assert_eq!(events.recv().await, Some(event(1)));
    log.go_on_to(2).await;
    assert_eq!(events.recv().await, Some(event(2)));
}

#[tokio::test]
async fn given_doubled_and_disordered_messages_then_each_event_comes_once_and_in_order() {
    let broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    let log = FakeLog::start(&scheduler, 2).await;
    let mut events = follow::events(&alice, Seq::ZERO, Filter::default());
    expect(&mut events, 1..=2).await;
    log.commit(8);
    for seq in [3, 3, 1, 5, 4, 4, 8, 2, 7, 6, 8] {
        log.publish(seq).await;
    }
    expect(&mut events, 3..=8).await;
    log.go_on_to(9).await;
    expect(&mut events, 9..=9).await;
}

#[tokio::test]
async fn given_a_dropped_message_then_the_hole_is_read() {
    let broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    let log = FakeLog::start(&scheduler, 2).await;
    let mut events = follow::events(&alice, Seq::ZERO, Filter::default());
    expect(&mut events, 1..=2).await;
    log.commit(10);
    for seq in [3, 4, 7, 8, 10] {
        log.publish(seq).await;
    }
    expect(&mut events, 3..=10).await;
}

#[tokio::test]
async fn given_pages_that_overlap_then_each_event_comes_once() {
    let broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    let log = FakeLog::start(&scheduler, 250).await;
    log.overlap_by(7);
    let mut events = follow::events(&alice, Seq(5), Filter::default());
    expect(&mut events, 5..=250).await;
}

#[tokio::test]
async fn given_a_dropped_end_then_the_tick_tells_and_one_that_tells_nothing_new_reads_nothing() {
    let broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    let log = FakeLog::start(&scheduler, 2).await;
    let mut events = follow::events(&alice, Seq::ZERO, Filter::default());
    expect(&mut events, 1..=2).await;
    log.commit(5);
    log.tick(5).await;
    expect(&mut events, 3..=5).await;
    let reads = log.reads();
    log.tick(5).await;
    log.tick(4).await;
    log.go_on_to(6).await;
    expect(&mut events, 6..=6).await;
    assert_eq!(log.reads(), reads);
}

#[tokio::test]
async fn given_a_replica_that_is_behind_then_it_is_asked_until_it_is_not() {
    let broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    let log = FakeLog::start(&scheduler, 2).await;
    log.be_behind(2);
    let mut events = follow::events(&alice, Seq::ZERO, Filter::default());
    expect(&mut events, 1..=2).await;
    // The live message is here before the replica has applied it.
    log.publish(5).await;
    let reads = log.reads();
    eventually("a query", || async { (log.reads() > reads).then_some(()) }).await;
    log.commit(5);
    expect(&mut events, 3..=5).await;
    assert!(log.asked_from().iter().skip(reads).all(|from| *from == 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_follower_that_is_slower_than_its_subscription_then_nothing_is_lost() {
    let broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    let log = FakeLog::start(&scheduler, 0).await;
    let mut events = follow::events(&alice, Seq::ZERO, Filter::default());
    eventually("the first read", || async { (log.reads() > 0).then_some(()) }).await;
    // When more come than the client keeps while nobody takes them,
    let (before, many) = (alice.nats().statistics(), 20_000);
    let received = || before.in_messages.load(std::sync::atomic::Ordering::Relaxed);
    log.go_on_to(many).await;
    eventually("all messages", || async { (received() >= many).then_some(()) }).await;
    log.tick(many).await;
    // then all are there in the end, though not all of them live.
    expect(&mut events, 1..=many).await;
    assert!(log.reads() > 1);
}

#[tokio::test]
async fn given_the_broker_lost_and_back_then_what_happened_meanwhile_is_read() {
    let mut broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    let log = FakeLog::start(&scheduler, 2).await;
    let mut events = follow::events(&alice, Seq::ZERO, Filter::default());
    expect(&mut events, 1..=2).await;
    broker.stop();
    log.commit(5);
    broker.start_again();
    expect(&mut events, 3..=5).await;
    log.go_on_to(7).await;
    log.tick(7).await;
    expect(&mut events, 6..=7).await;
}

#[tokio::test]
async fn given_a_filter_then_only_what_fits_comes_read_or_live() {
    let broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    let log = FakeLog::start(&scheduler, 4).await;
    let filter = Filter {
        vm: Some(vm_of(1)),
        ..Filter::default()
    };
    let mut events = follow::events(&alice, Seq::ZERO, filter);
    assert_eq!(next(&mut events, 2).await, [1, 3]);
    log.go_on_to(7).await;
    assert_eq!(next(&mut events, 2).await, [5, 7]);
    // A hole among what is not wanted is looked at, too.
    log.commit(11);
    log.publish(11).await;
    assert_eq!(next(&mut events, 2).await, [9, 11]);

    let of_bob = Filter {
        actor: Some("bob".parse().unwrap()),
        ..Filter::default()
    };
    let mut bobs = follow::events(&alice, Seq::ZERO, of_bob);
    let of_command = Filter {
        command: Some(CommandId::from_bytes([12; 16])),
        ..Filter::default()
    };
    let mut one = follow::events(&alice, Seq::ZERO, of_command);
    assert_eq!(next(&mut bobs, 3).await, [3, 6, 9]);
    log.go_on_to(12).await;
    log.tick(12).await;
    assert_eq!(next(&mut bobs, 1).await, [12]);
    assert_eq!(next(&mut one, 1).await, [12]);
}

#[tokio::test]
async fn given_a_log_with_a_hole_then_it_ends_and_says_which() {
    let broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    let log = FakeLog::start(&scheduler, 5).await;
    log.leave_out(3);
    let mut events = follow::events(&alice, Seq::ZERO, Filter::default());
    let hole = FollowError::Hole {
        missing: Seq(3),
        found: Seq(4),
    };
    expect(&mut events, 1..=2).await;
    assert_eq!(end(&mut events).await, hole);
}

#[tokio::test]
async fn given_a_user_who_may_not_follow_then_it_ends_and_says_so() {
    let broker = Broker::start().await;
    let host = broker.client("host-h1").await;
    let mut events = follow::events(&host, Seq::ZERO, Filter::default());
    let error = end(&mut events).await;
    assert!(
        matches!(&error, FollowError::NotPermitted { user, .. } if user == "host-h1"),
        "{error}"
    );
}

#[tokio::test]
async fn given_a_follower_that_goes_away_then_nothing_is_subscribed_any_more() {
    let broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    let log = FakeLog::start(&scheduler, 1).await;
    let mut events = follow::events(&alice, Seq::ZERO, Filter::default());
    expect(&mut events, 1..=1).await;
    assert!(!nobody_listens(&scheduler).await);
    drop(events);
    eventually("the end of the subscriptions", || async {
        nobody_listens(&scheduler).await.then_some(())
    })
    .await;
    drop(log);
}

/// Whether the broker says that nobody is subscribed to events and ticks.
async fn nobody_listens(scheduler: &chv_proto::client::Client) -> bool {
    let mut nobody = true;
    for subject in [EVENTS.replace('>', "host.h1.cordoned"), TICK.to_owned()] {
        let request = async_nats::Request::new().timeout(Some(std::time::Duration::from_millis(200)));
        let error = scheduler.nats().send_request(subject, request).await.unwrap_err();
        nobody &= error.kind() == async_nats::RequestErrorKind::NoResponders;
    }
    nobody
}
