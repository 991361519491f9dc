//! The answering side: takes connections of this cluster's replicas, and hands what they ask to Raft.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chv_domain::ReplicaId;
use openraft::Raft;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::frame::{receive, receive_at_most, send};
use super::message::{Answer, Appended, Ask, BallotVote, Hello, MAX_HELLO, PROTOCOL, Request, Told, Voted};
use crate::files::Identity;
use crate::raft::TypeConfig;
use crate::raft::log_storage::LogStorage;
use crate::secret::ClusterSecret;

/// How many connections are served at a time; two or three a replica are in use.
const CONNECTIONS: usize = 64;

/// How long a caller may take to say who it is.
const GREETING: Duration = Duration::from_secs(2);

/// How long a connection may be silent. A leader speaks several times a second.
const SILENCE: Duration = Duration::from_secs(60);

/// How long to wait before accepting again after that failed, for want of descriptors say.
const PAUSE: Duration = Duration::from_millis(100);

/// Who is answered.
#[derive(Clone)]
pub(crate) struct Callers {
    identity: Identity,
    secret: ClusterSecret,
    known: Arc<BTreeSet<ReplicaId>>,
}

impl Callers {
    pub(crate) fn new(
        identity: Identity,
        secret: ClusterSecret,
        known: impl Iterator<Item = ReplicaId>,
    ) -> Self {
        Self {
            identity,
            secret,
            known: Arc::new(known.collect()),
        }
    }
}

/// Serves until `stop`.
pub(crate) async fn serve(
    listener: TcpListener,
    raft: Raft<TypeConfig>,
    log: LogStorage,
    callers: Callers,
    stop: CancellationToken,
) {
    let (tasks, room) = (TaskTracker::new(), Arc::new(Semaphore::new(CONNECTIONS)));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "can't take a connection");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            warn!("too many connections of replicas; one was turned away");
            continue;
        };
        let (raft, log, callers, stop) = (raft.clone(), log.clone(), callers.clone(), stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                ended = converse(stream, &raft, &log, &callers) => {
                    if let Err(error) = ended {
                        debug!(%error, "a replica's connection ended");
                    }
                }
            }
            drop(permit);
        });
    }
    tasks.close();
    tasks.wait().await;
}

async fn converse(
    mut stream: TcpStream,
    raft: &Raft<TypeConfig>,
    log: &LogStorage,
    callers: &Callers,
) -> io::Result<()> {
    let identity = callers.identity;
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    stream.set_nodelay(true)?;
    let hello: Hello = tokio::time::timeout(GREETING, receive_at_most(&mut stream, MAX_HELLO))
        .await
        .map_err(late)??;
    let refused = refusal(&hello, callers).unwrap_or_default();
    let answer = Hello {
        protocol: PROTOCOL,
        cluster: identity.cluster.to_bytes().to_vec().into(),
        from: identity.replica.get(),
        to: hello.from,
        secret: Bytes::new(),
        refused: refused.clone(),
    };
    tokio::time::timeout(GREETING, send(&mut stream, &answer))
        .await
        .map_err(late)??;
    if !refused.is_empty() {
        warn!(caller = hello.from, why = refused, "a connection was refused");
        return Ok(());
    }
    loop {
        let request: Request = tokio::time::timeout(SILENCE, receive(&mut stream))
            .await
            .map_err(late)??;
        let Some(ask) = request.ask else {
            return Err(io::Error::other("a request that asks nothing"));
        };
        let told = answer_to(raft, log, ask).await?;
        let answer = Answer { told: Some(told) };
        tokio::time::timeout(SILENCE, send(&mut stream, &answer))
            .await
            .map_err(late)??;
    }
}

fn refusal(hello: &Hello, callers: &Callers) -> Option<String> {
    let Callers {
        identity,
        secret,
        known,
    } = callers;
    if hello.protocol != PROTOCOL {
        return Some(format!(
            "protocol {} is not known here, only {PROTOCOL}",
            hello.protocol
        ));
    }
    if !secret.is(&hello.secret) {
        return Some("the cluster's secret is another one".to_owned());
    }
    if hello.cluster.as_ref() != identity.cluster.to_bytes() {
        return Some(format!("this is a replica of cluster {}", identity.cluster));
    }
    if hello.to != identity.replica.get() {
        return Some(format!("this is replica {}, not {}", identity.replica, hello.to));
    }
    let expected = ReplicaId::new(hello.from).is_some_and(|caller| known.contains(&caller));
    (!expected || hello.from == hello.to).then(|| format!("replica {} is not expected here", hello.from))
}

async fn answer_to(raft: &Raft<TypeConfig>, log: &LogStorage, ask: Ask) -> io::Result<Told> {
    Ok(match ask {
        Ask::Append(append) => match raft.append_entries(append.request()?).await {
            Ok(response) => {
                // A replica that led before may still have entries of its own on their way to the disk, and this
                // says that it has them.
                log.all_flushed().await.map_err(io::Error::other)?;
                Told::Append(Appended::of(&response))
            }
            Err(error) => Told::Failed(error.to_string()),
        },
        Ask::Vote(ask) => match raft.vote(ask.request()?).await {
            Ok(response) => Told::Vote(Voted::of(&response)),
            Err(error) => Told::Failed(error.to_string()),
        },
        Ask::Snapshot(chunk) => match raft.install_snapshot(chunk.request()?).await {
            Ok(response) => Told::Snapshot(BallotVote::of(&response)),
            Err(error) => Told::Failed(error.to_string()),
        },
    })
}
