//! Queries: one answer, or one of each replica.

use std::time::{Duration, Instant};

use chv_domain::Seq;
use chv_proto::client::{QueryError, Whom};
use chv_proto::subject::{self, Audience};
use chv_proto::v1::{self, query_envelope::Query, query_reply};
use prost::Message as _;

use crate::broker::{Broker, PATIENCE};
use crate::leader::{Fake, reply, status};

const SHORT: Duration = Duration::from_millis(700);

fn hosts() -> Query {
    Query::ListHosts(v1::ListHosts::default())
}

fn page() -> query_reply::Result {
    query_reply::Result::Hosts(v1::HostPage::default())
}

fn refused(code: &str, retryable: bool) -> query_reply::Result {
    query_reply::Result::Refused(v1::Refused {
        code: code.to_owned(),
        retryable,
        retry_after_ms: 20,
        ..v1::Refused::default()
    })
}

#[tokio::test]
async fn given_a_replica_then_it_is_asked_with_the_event_it_must_have() {
    let broker = Broker::start().await;
    let (audit, scheduler) = (broker.client("audit").await, broker.client("scheduler").await);
    let any = Fake::start(&scheduler, subject::queries(Audience::Any), |_, message| {
        reply(message, 2, page())
    })
    .await;
    let answer = audit
        .query(Audience::Any, hosts(), Some(Seq(42)), PATIENCE)
        .await
        .unwrap();
    assert_eq!((answer.replica, answer.result), (2, Some(page())));
    let asked = v1::QueryEnvelope::decode(any.got()[0].payload.as_ref()).unwrap();
    assert_eq!((asked.min_seq, asked.query), (42, Some(hosts())));
    // Nobody listens for the leader's audience.
    let error = audit
        .query(Audience::Leader, hosts(), None, SHORT)
        .await
        .unwrap_err();
    assert_eq!(
        error,
        QueryError::NobodyAnswers {
            whom: Whom::Leader,
            waited: SHORT
        }
    );
}

#[tokio::test]
async fn given_a_replica_that_is_behind_then_it_is_asked_again_and_a_refusal_is_final() {
    let broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    let any = Fake::start(
        &scheduler,
        subject::queries(Audience::Any),
        |before, message| match before {
            0 | 1 => reply(message, 1, refused("behind", true)),
            2 => reply(message, 1, page()),
            _ => reply(message, 1, refused("not_found", false)),
        },
    )
    .await;
    alice
        .query(Audience::Any, hosts(), Some(Seq(1)), PATIENCE)
        .await
        .unwrap();
    assert_eq!(any.got().len(), 3);
    let error = alice
        .query(Audience::Any, hosts(), None, PATIENCE)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, QueryError::Refused(refusal) if refusal.code == "not_found"),
        "{error}"
    );
}

#[tokio::test]
async fn given_no_answer_or_an_unreadable_one_then_they_are_told_apart() {
    let broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    let _leader = Fake::start(&scheduler, subject::queries(Audience::Leader), |_, _| vec![]).await;
    let error = alice
        .query(Audience::Leader, hosts(), None, SHORT)
        .await
        .unwrap_err();
    assert!(matches!(error, QueryError::TimedOut { .. }), "{error}");
    let _any = Fake::start(&scheduler, subject::queries(Audience::Any), |_, message| {
        vec![(message.reply.clone().unwrap().to_string(), vec![0xff])]
    })
    .await;
    let error = alice
        .query(Audience::Any, hosts(), None, PATIENCE)
        .await
        .unwrap_err();
    assert!(matches!(error, QueryError::Protocol { .. }), "{error}");
}

#[tokio::test]
async fn given_a_host_then_it_may_ask_no_queries() {
    let broker = Broker::start().await;
    let host = broker.client("host-h1").await;
    let error = host
        .query(Audience::Any, hosts(), None, 3 * PATIENCE)
        .await
        .unwrap_err();
    assert!(matches!(error, QueryError::NotPermitted { .. }), "{error}");
    let error = host.status_of_each(3 * PATIENCE, false).await.unwrap_err();
    assert!(matches!(error, QueryError::NotPermitted { .. }), "{error}");
}

#[tokio::test]
async fn given_all_that_hold_the_log_answer_then_their_states_come_at_once_and_in_order() {
    let broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    let _replicas = Fake::start(&scheduler, subject::queries(Audience::Each), |_, message| {
        [
            status(message, 3),
            status(message, 1),
            status(message, 1),
            status(message, 2),
        ]
        .concat()
    })
    .await;
    let began = Instant::now();
    let states = alice.status_of_each(3 * PATIENCE, true).await.unwrap();
    let replicas: Vec<_> = states.iter().map(|state| state.replica).collect();
    assert_eq!(replicas, [1, 2, 3]);
    assert!(began.elapsed() < PATIENCE, "it waited on");
}

#[tokio::test]
async fn given_one_is_away_then_the_others_states_come_in_the_end_and_none_is_an_error() {
    let broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    let error = alice.status_of_each(SHORT, false).await.unwrap_err();
    assert!(matches!(error, QueryError::NobodyAnswers { .. }), "{error}");
    let _replicas = Fake::start(&scheduler, subject::queries(Audience::Each), |_, message| {
        [status(message, 3), status(message, 1)].concat()
    })
    .await;
    let states = alice.status_of_each(SHORT, false).await.unwrap();
    assert_eq!(states.len(), 2);
}
