//! What each NATS user of a deployment may say and hear, against a real nats-server with the configuration that
//! deploy/nats renders. It needs no scheduler and no host: the server alone must refuse.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use async_nats::{Client, ConnectOptions, Event, ServerError};
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

/// A nats-server with the rendered configuration on a free port; killed when dropped.
struct Server {
    process: Child,
    url: String,
    directory: tempfile::TempDir,
}

impl Server {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/nats");
        let rendered = Command::new(templates.join("render"))
            .arg(directory.path())
            .arg("127.0.0.1:-1")
            .args([
                "person:alice",
                "person:bob",
                "host:h1",
                "host:h2",
                "scheduler",
                "audit",
            ])
            .status()
            .expect("deploy/nats/render runs");
        assert!(rendered.success());
        let process = Command::new("nats-server")
            .arg("--config")
            .arg(directory.path().join("nats.conf"))
            .arg("--ports_file_dir")
            .arg(directory.path())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server is installed (`make deps`)");
        let mut server = Server {
            process,
            url: String::new(),
            directory,
        };
        server.url = server.wait_for_its_port().await;
        server
    }

    /// The server writes where it listens into a file, once it does.
    async fn wait_for_its_port(&self) -> String {
        let file = self
            .directory
            .path()
            .join(format!("nats-server_{}.ports", self.process.id()));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = tokio::fs::read_to_string(&file).await.unwrap_or_default();
            if let Ok(ports) = serde_json::from_str::<serde_json::Value>(&text) {
                return ports["nats"][0].as_str().expect("a client port").to_owned();
            }
            assert!(
                Instant::now() < deadline,
                "nats-server is not listening after {PATIENCE:?}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn connect(&self, user: &str) -> User {
        let password = tokio::fs::read_to_string(self.directory.path().join("passwords").join(user)).await;
        let (errors, received) = mpsc::channel(16);
        let client = ConnectOptions::with_user_and_password(
            user.to_owned(),
            password.expect("render made a password").trim().to_owned(),
        )
        .custom_inbox_prefix(format!("_INBOX.{user}"))
        .event_callback(move |event| {
            let errors = errors.clone();
            async move {
                if let Event::ServerError(error) = event {
                    errors.send(error).await.ok();
                }
            }
        })
        .connect(&self.url)
        .await
        .unwrap_or_else(|error| panic!("{user} can't connect: {error}"));
        User {
            name: user.to_owned(),
            client,
            errors: received,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// One connected user, and what the server refused to it.
struct User {
    name: String,
    client: Client,
    errors: mpsc::Receiver<ServerError>,
}

impl User {
    async fn subscribe(&self, subject: &str) -> async_nats::Subscriber {
        let subscription = self
            .client
            .subscribe(subject.to_owned())
            .await
            .expect("the client takes it");
        self.client.flush().await.expect("the connection is up");
        subscription
    }

    async fn publish(&self, subject: &str, content: &'static str) {
        self.client
            .publish(subject.to_owned(), content.into())
            .await
            .expect("the client takes it");
        self.client.flush().await.expect("the connection is up");
    }

    /// The server's own words on the latest refusal.
    async fn refusal(&mut self) -> String {
        match timeout(PATIENCE, self.errors.recv()).await {
            Ok(Some(ServerError::Other(words))) => words,
            other => panic!("{} was to be refused, but: {other:?}", self.name),
        }
    }

    async fn cannot_publish(&mut self, subject: &str) {
        self.publish(subject, "").await;
        let words = self.refusal().await;
        assert_eq!(
            words,
            format!("Permissions Violation for Publish to \"{subject}\""),
            "as {}",
            self.name
        );
    }

    async fn cannot_subscribe(&mut self, subject: &str) {
        let _subscription = self.subscribe(subject).await;
        let words = self.refusal().await;
        assert!(
            words.starts_with(&format!(
                "Permissions Violation for Subscription to \"{subject}\""
            )),
            "as {}: {words}",
            self.name
        );
    }
}

async fn next(subscription: &mut async_nats::Subscriber) -> async_nats::Message {
    let message = timeout(PATIENCE, subscription.next()).await;
    message
        .expect("a message arrives in time")
        .expect("the subscription is open")
}

/// Asserts that what `from` publishes on `subject` reaches `to` by `pattern`. Both sides may then be taken to be
/// allowed; a server that refuses either keeps the message back.
async fn reaches(from: &User, subject: &str, to: &User, pattern: &str) {
    let mut subscription = to.subscribe(pattern).await;
    let sent = async {
        // The server takes subscriptions and messages of two connections in no order, so it is sent until seen.
        loop {
            from.publish(subject, "hello").await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let message = tokio::select! {
        message = timeout(PATIENCE, subscription.next()) => message,
        () = sent => unreachable!("it sends until it is dropped"),
    };
    let message =
        message.unwrap_or_else(|_| panic!("`{subject}` of {} never reached {}", from.name, to.name));
    assert_eq!(
        message.expect("the subscription is open").subject.as_str(),
        subject
    );
}

#[tokio::test]
async fn each_user_reaches_whom_it_must() {
    let server = Server::start().await;
    let alice = server.connect("alice").await;
    let host = server.connect("host-h1").await;
    let scheduler = server.connect("scheduler").await;
    let audit = server.connect("audit").await;

    reaches(&alice, "chv.cmd.alice.vm.create", &scheduler, "chv.cmd.>").await;
    reaches(
        &alice,
        "chv.query.alice.any.vm.list",
        &scheduler,
        "chv.query.*.any.>",
    )
    .await;
    reaches(
        &audit,
        "chv.query.audit.leader.vm.list",
        &scheduler,
        "chv.query.*.leader.>",
    )
    .await;
    reaches(&host, "chv.host.h1.report", &scheduler, "chv.host.>").await;
    reaches(&scheduler, "chv.feed.h1", &host, "chv.feed.h1").await;
    reaches(&alice, "chv.console.alice.h1.read", &host, "chv.console.*.h1.>").await;
    for watcher in [&alice, &audit] {
        reaches(
            &scheduler,
            "chv.evt.vm.default.01ARZ3NDEKTSV4RRFFQ69G5FAV.started",
            watcher,
            "chv.evt.>",
        )
        .await;
        reaches(&scheduler, "chv.tick", watcher, "chv.tick").await;
        let inbox = format!("_INBOX.{}.1", watcher.name);
        reaches(&scheduler, &inbox, watcher, &inbox).await;
    }
}

#[tokio::test]
async fn a_person_cannot_act_as_another_nor_listen_to_others_traffic() {
    let server = Server::start().await;
    let mut alice = server.connect("alice").await;

    for subject in [
        "chv.cmd.bob.vm.create",
        "chv.query.bob.any.vm.list",
        "chv.console.bob.h1.read",
        "chv.host.h1.report",
        "chv.feed.h1",
        "chv.evt.vm.default.01ARZ3NDEKTSV4RRFFQ69G5FAV.started",
        "chv.tick",
        "_INBOX.bob.1",
        "_INBOX.scheduler.1",
    ] {
        alice.cannot_publish(subject).await;
    }
    for subject in [
        ">",
        "chv.>",
        "chv.feed.h1",
        "chv.feed.*",
        "chv.cmd.>",
        "chv.cmd.alice.>",
        "chv.query.>",
        "chv.host.>",
        "chv.console.>",
        "_INBOX.>",
        "_INBOX.bob.>",
        "_INBOX.*.1",
    ] {
        alice.cannot_subscribe(subject).await;
    }
}

#[tokio::test]
async fn a_host_cannot_speak_for_another_nor_read_its_feed() {
    let server = Server::start().await;
    let mut host = server.connect("host-h1").await;

    for subject in [
        "chv.host.h2.report",
        "chv.host.h2.heartbeat",
        "chv.feed.h1",
        "chv.cmd.host-h1.vm.create",
        "chv.cmd.alice.vm.create",
        "chv.query.alice.any.vm.list",
        "chv.evt.host.h1.registered",
        "_INBOX.alice.1",
    ] {
        host.cannot_publish(subject).await;
    }
    for subject in [
        "chv.feed.h2",
        "chv.feed.*",
        "chv.console.*.h2.read",
        "chv.console.>",
        "chv.evt.>",
        "_INBOX.host-h2.>",
    ] {
        host.cannot_subscribe(subject).await;
    }
}

#[tokio::test]
async fn the_audit_and_the_scheduler_give_no_commands() {
    let server = Server::start().await;

    let mut audit = server.connect("audit").await;
    for subject in [
        "chv.cmd.audit.vm.create",
        "chv.cmd.alice.vm.create",
        "chv.feed.h1",
        "chv.console.audit.h1.read",
    ] {
        audit.cannot_publish(subject).await;
    }
    audit.cannot_subscribe("chv.feed.*").await;

    let mut scheduler = server.connect("scheduler").await;
    for subject in [
        "chv.cmd.alice.vm.create",
        "chv.host.h1.report",
        "chv.console.alice.h1.read",
    ] {
        scheduler.cannot_publish(subject).await;
    }
    scheduler.cannot_subscribe("_INBOX.alice.>").await;
}

#[tokio::test]
async fn nobody_is_let_in_without_a_name_and_its_password() {
    let server = Server::start().await;

    let attempts = [
        ("anonymous", ConnectOptions::new()),
        (
            "wrong password",
            ConnectOptions::with_user_and_password("alice".into(), "alice".into()),
        ),
        (
            "unknown user",
            ConnectOptions::with_user_and_password("carol".into(), String::new()),
        ),
    ];
    for (who, options) in attempts {
        let error = options.connect(&server.url).await.expect_err("must be refused");
        assert_eq!(
            error.kind(),
            async_nats::ConnectErrorKind::AuthorizationViolation,
            "{who}"
        );
    }
}

#[tokio::test]
async fn a_host_answers_a_console_request_and_says_nothing_more_there() {
    let server = Server::start().await;
    let alice = server.connect("alice").await;
    let mut host = server.connect("host-h1").await;
    reaches(
        &alice,
        "chv.console.alice.h1.read",
        &host,
        "chv.console.*.h1.read",
    )
    .await;
    let mut requests = host.subscribe("chv.console.*.h1.write").await;
    let mut answers = alice.subscribe("_INBOX.alice.console").await;

    // Given an inbox that no request has named, the host can't write into it.
    host.cannot_publish("_INBOX.alice.console").await;

    // When a request names it, the host's answer arrives.
    alice
        .client
        .publish_with_reply(
            "chv.console.alice.h1.write",
            "_INBOX.alice.console",
            "ls\n".into(),
        )
        .await
        .expect("the client takes it");
    let request = next(&mut requests).await;
    assert_eq!(request.subject.as_str(), "chv.console.alice.h1.write");
    host.publish(request.reply.expect("a reply subject").as_str(), "answer")
        .await;
    assert_eq!(next(&mut answers).await.payload, "answer");

    // Then the right to answer is used up.
    host.cannot_publish("_INBOX.alice.console").await;
}
