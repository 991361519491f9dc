//! Connecting: let in, not let in, and nobody there.

use std::time::Duration;

use chv_proto::client::{Client, ConnectError, ConnectOptions};

use crate::broker::Broker;

#[tokio::test]
async fn given_a_user_and_its_password_then_it_is_let_in_with_inboxes_of_its_own() {
    let broker = Broker::start().await;
    let alice = broker.client("alice").await;
    assert_eq!((alice.user(), alice.url()), ("alice", broker.url()));
    assert!(alice.is_up());
    assert!(alice.nats().new_inbox().starts_with("_INBOX.alice."));
}

#[tokio::test]
async fn given_another_password_or_no_such_user_then_it_is_refused() {
    let broker = Broker::start().await;
    let wrong = ConnectOptions {
        password: "wrong".to_owned(),
        ..broker.options("alice")
    };
    for options in [wrong, broker.options("mallory")] {
        let user = options.user.clone();
        let refused = Client::connect(options).await.unwrap_err();
        assert!(
            matches!(&refused, ConnectError::Refused { user: named, .. } if *named == user),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn given_nobody_at_the_address_then_it_says_so_and_where() {
    let mut broker = Broker::start().await;
    let options = broker.options("alice");
    broker.stop();
    let error = Client::connect(options).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(broker.url()), "{error}");
}

#[tokio::test]
async fn given_an_address_that_takes_connections_and_says_nothing_then_it_gives_up_in_time() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = ConnectOptions {
        url: format!("nats://{}", silent.local_addr().unwrap()),
        user: "alice".to_owned(),
        password: String::new(),
        name: "test".to_owned(),
        connect_timeout: Duration::from_millis(200),
    };
    let error = Client::connect(options).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn given_no_address_then_it_says_how_to_write_one() {
    let options = ConnectOptions {
        url: "nats://[not an address".to_owned(),
        user: "alice".to_owned(),
        password: "secret".to_owned(),
        name: "test".to_owned(),
        connect_timeout: Duration::from_secs(5),
    };
    assert!(!format!("{options:?}").contains("secret"));
    let error = Client::connect(options).await.unwrap_err();
    assert!(matches!(error, ConnectError::Url { .. }), "{error}");
}
