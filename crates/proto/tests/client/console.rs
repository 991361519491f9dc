//! Consoles: reads may be asked again, keys are sent once.

use chv_domain::HostName;
use chv_proto::client::{QueryError, Whom};
use chv_proto::{subject, v1};
use prost::Message as _;

use crate::broker::Broker;
use crate::leader::Fake;

fn h1() -> HostName {
    "h1".parse().unwrap()
}

#[tokio::test]
async fn given_a_host_then_it_is_read_and_typed_into() {
    let broker = Broker::start().await;
    let (alice, host) = (broker.client("alice").await, broker.client("host-h1").await);
    let _host = Fake::start(&host, subject::console_requests(&h1()), |_, message| {
        let (_, _, kind) = subject::parse_console(&message.subject).unwrap();
        let answer = match kind {
            subject::ConsoleMessage::Read => v1::ConsoleChunk {
                data: b"login: ".to_vec(),
                running: true,
                ..v1::ConsoleChunk::default()
            }
            .encode_to_vec(),
            subject::ConsoleMessage::Write => v1::ConsoleWritten { refused: None }.encode_to_vec(),
        };
        vec![(message.reply.clone().unwrap().to_string(), answer)]
    })
    .await;
    let chunk = alice
        .console_read(&h1(), v1::ConsoleRead::default())
        .await
        .unwrap();
    assert_eq!(
        (chunk.data.as_slice(), chunk.running),
        (b"login: ".as_slice(), true)
    );
    let written = alice
        .console_write(&h1(), v1::ConsoleWrite::default())
        .await
        .unwrap();
    assert_eq!(written.refused, None);
}

#[tokio::test]
async fn given_a_host_that_is_away_then_it_says_which() {
    let broker = Broker::start().await;
    let alice = broker.client("alice").await;
    let error = alice
        .console_write(&h1(), v1::ConsoleWrite::default())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, QueryError::NobodyAnswers { whom: Whom::Host(host), .. } if *host == h1()),
        "{error}"
    );
}

#[tokio::test]
async fn given_no_answer_then_keys_are_not_typed_again() {
    let broker = Broker::start().await;
    let (alice, host) = (broker.client("alice").await, broker.client("host-h1").await);
    let silent = Fake::start(&host, subject::console_requests(&h1()), |_, _| vec![]).await;
    let error = alice
        .console_write(&h1(), v1::ConsoleWrite::default())
        .await
        .unwrap_err();
    assert!(matches!(error, QueryError::TimedOut { .. }), "{error}");
    assert_eq!(silent.got().len(), 1);
    let error = alice
        .console_read(&h1(), v1::ConsoleRead::default())
        .await
        .unwrap_err();
    assert!(matches!(error, QueryError::TimedOut { .. }), "{error}");
    assert!(silent.got().len() > 2);
}
