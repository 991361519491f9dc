//! Makes a connection to a replica: TCP, TLS if there are certificates, and the greeting. What is said after that is
//! the client's.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use chv_domain::ReplicaId;

use super::frame::{Sender, receive_at_most, send};
use super::greeting::Greeting;
use super::message::{Hello, MAX_HELLO};
use super::security::{LIFE, Security};
use super::stream::Stream;

/// How long a connection may take to be made: three round trips and two signatures, on a machine that is busy.
const CONNECT: Duration = Duration::from_secs(3);

/// A connection that is greeted.
pub(super) struct Connection {
    pub(super) stream: Stream,
    pub(super) sender: Sender,
    made: Instant,
}

impl Connection {
    /// Whether it may still be used.
    pub(super) fn is_young(&self) -> bool {
        self.made.elapsed() < LIFE
    }
}

/// Connects to `replica` at `address`.
pub(super) async fn dial(
    greeting: Greeting,
    security: Security,
    replica: ReplicaId,
    address: SocketAddr,
) -> io::Result<Connection> {
    let dialling = async {
        let mut stream = security.connect(address, replica).await?;
        let answered = greet(&mut stream, &greeting, &security, replica).await;
        answered.map_err(|error| security.explain(error))?;
        let made = Instant::now();
        Ok(Connection {
            stream,
            sender: Sender::default(),
            made,
        })
    };
    let dialled = tokio::time::timeout(CONNECT, dialling).await;
    let dialled = dialled.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    dialled.map_err(|error: io::Error| {
        io::Error::new(error.kind(), format!("replica {replica} at {address}: {error}"))
    })
}

async fn greet(
    stream: &mut Stream,
    greeting: &Greeting,
    security: &Security,
    replica: ReplicaId,
) -> io::Result<()> {
    let denied = |why: String| io::Error::new(io::ErrorKind::PermissionDenied, why);
    let hello = greeting.hello(replica.get(), security.secret());
    send(stream, &hello).await?;
    let answer: Hello = receive_at_most(stream, MAX_HELLO).await?;
    let meant = (answer.protocol, &answer.cluster, answer.from, answer.to)
        == (hello.protocol, &hello.cluster, hello.to, hello.from);
    if meant {
        // First what it says of this replica, which tells more than that it hangs up.
        greeting.heed(replica, &answer).map_err(denied)?;
    }
    match (answer.refused.is_empty(), meant) {
        (true, true) => Ok(()),
        (true, false) => Err(denied("another replica is there".to_owned())),
        (false, _) => Err(denied(format!("refused: {}", answer.refused))),
    }
}
