//! The answering side: takes connections of this cluster's replicas, and hands what they ask to Raft.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chv_domain::ReplicaId;
use openraft::{Raft, ServerState};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::frame::{Receiver, receive_at_most, send};
use super::greeting::Greeting;
use super::message::{Answer, Ask, Hello, LogEnd, MAX_HELLO, PROTOCOL, Request, Told, Voted};
use super::outdated;
use super::refused::Refused;
use super::security::{LIFE, Security};
use super::stream::Stream;
use super::{append, history, snapshot};
use crate::elect::{Able, Heard, Opinion};
use crate::files::Disk;
use crate::history::History;
use crate::raft::incoming::Incoming;
use crate::raft::log_storage::LogStorage;
use crate::raft::state_machine::Applied;
use crate::raft::{LogId, TypeConfig, Vote};

/// How many connections of known replicas are served at a time; two or three a replica are in use.
const CONNECTIONS: usize = 64;

/// How many callers may be about to say who they are.
const STRANGERS: usize = 64;

/// How long a caller may take to say who it is.
const GREETING: Duration = Duration::from_secs(3);

/// How long a connection may be silent. A leader speaks several times a second.
const SILENCE: Duration = Duration::from_secs(60);

/// How long a replica may need to know what it has.
const MOMENT: Duration = Duration::from_millis(100);

/// How long to wait before accepting again after that failed, for want of descriptors say.
const PAUSE: Duration = Duration::from_millis(100);

/// Who is answered.
#[derive(Clone)]
pub(crate) struct Callers {
    greeting: Greeting,
    security: Security,
    applied: Applied,
    outdated: outdated::Tell,
}

impl Callers {
    pub(crate) fn new(
        greeting: Greeting,
        security: Security,
        applied: Applied,
        outdated: outdated::Tell,
    ) -> Self {
        Self {
            greeting,
            security,
            applied,
            outdated,
        }
    }
}

/// Who answers.
#[derive(Clone)]
pub(crate) struct Answering {
    pub(crate) raft: Raft<TypeConfig>,
    pub(crate) log: LogStorage,
    pub(crate) history: History,
    pub(crate) incoming: Incoming,
    pub(crate) heard: Heard,
    pub(crate) able: Able,
    /// For how long after it was heard a leader is safe.
    pub(crate) lease: Duration,
    pub(crate) disk: Disk,
}

/// Serves until `stop`.
pub(crate) async fn serve(
    listener: TcpListener,
    replica: Answering,
    callers: Callers,
    stop: CancellationToken,
) {
    let tasks = TaskTracker::new();
    let (strangers, room) = (
        Arc::new(Semaphore::new(STRANGERS)),
        Arc::new(Semaphore::new(CONNECTIONS)),
    );
    let refused = Refused::default();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, caller) = match accepted {
            Ok((stream, caller)) => (stream, caller.ip()),
            Err(error) => {
                warn!(%error, "can't take a connection");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(stranger) = Arc::clone(&strangers).try_acquire_owned() else {
            refused.tell(caller, "too many callers have not said who they are");
            continue;
        };
        let (replica, callers) = (replica.clone(), callers.clone());
        let (stop, room, refused) = (stop.clone(), Arc::clone(&room), refused.clone());
        let talk = async move {
            let welcomed = tokio::time::timeout(GREETING, welcome(stream, &callers)).await;
            drop(stranger);
            let (stream, hello) = match welcomed {
                Ok(Ok(welcomed)) => welcomed,
                Ok(Err(error)) => return refused.tell(caller, &error.to_string()),
                Err(_) => return refused.tell(caller, "it did not say who it is in time"),
            };
            let Ok(_permit) = room.try_acquire_owned() else {
                return refused.tell(caller, "too many connections of replicas");
            };
            let undecoded = |error: &io::Error| {
                if let Some(outdated) = outdated::of(error, hello.from, hello.format) {
                    callers.outdated.send_replace(Some(outdated));
                }
            };
            match converse(stream, &replica, undecoded).await {
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    refused.tell(caller, &error.to_string());
                }
                Err(error) => debug!(%error, "a replica's connection ended"),
                Ok(()) => {}
            }
        };
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = talk => {}
            }
        });
    }
    tasks.close();
    tasks.wait().await;
}

/// Lets a caller in that is a replica of this cluster. Why not, when it is not.
async fn welcome(stream: TcpStream, callers: &Callers) -> io::Result<(Stream, Hello)> {
    let (mut stream, credential) = callers.security.accept(stream).await?;
    let hello: Hello = receive_at_most(&mut stream, MAX_HELLO).await?;
    let mut answer = callers.greeting.hello(hello.from, Bytes::new());
    match callers.security.refusal(&credential, &hello) {
        None => answer.refused = refusal(&hello, callers).unwrap_or_default(),
        Some(why) => {
            // What is known of a replica is its own business.
            (answer.expects, answer.needs, answer.refused) = (Bytes::new(), 0, why);
        }
    }
    let refused = answer.refused.clone();
    send(&mut stream, &answer).await?;
    match refused.is_empty() {
        true => Ok((stream, hello)),
        false => {
            let why = format!("it says that it is replica {}: {refused}", hello.from);
            Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
        }
    }
}

async fn converse(
    mut stream: Stream,
    replica: &Answering,
    tell_undecoded: impl Fn(&io::Error),
) -> io::Result<()> {
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    let (made, mut receiver) = (Instant::now(), Receiver::default());
    while made.elapsed() < LIFE + SILENCE {
        let request: Request = tokio::time::timeout(SILENCE, receiver.receive(&mut stream))
            .await
            .map_err(late)??;
        let Some(ask) = request.ask else {
            return Err(io::Error::other("a request that asks nothing"));
        };
        let (told, undecoded) = match answer_to(replica, ask).await {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                tell_undecoded(&error);
                let why = format!("what it sends does not decode, {error}; are both of the same version?");
                (Told::Failed(why.clone()), Err(io::Error::new(error.kind(), why)))
            }
            told => (told?, Ok(())),
        };
        let answer = Answer { told: Some(told) };
        tokio::time::timeout(SILENCE, send(&mut stream, &answer))
            .await
            .map_err(late)??;
        undecoded?;
    }
    Ok(())
}

/// Why a caller that proved to be of this cluster is not talked with.
fn refusal(hello: &Hello, callers: &Callers) -> Option<String> {
    let Callers {
        greeting, applied, ..
    } = callers;
    let identity = greeting.identity;
    if hello.protocol != PROTOCOL {
        return Some(format!(
            "protocol {} is not known here, only {PROTOCOL}",
            hello.protocol
        ));
    }
    if hello.cluster.as_ref() != identity.cluster.to_bytes() {
        return Some(format!("this is a replica of cluster {}", identity.cluster));
    }
    if hello.to != identity.replica.get() {
        return Some(format!("this is replica {}, not {}", identity.replica, hello.to));
    }
    let Some(caller) = ReplicaId::new(hello.from).filter(|_| hello.from != hello.to) else {
        return Some(format!("replica {} does not call here", hello.from));
    };
    // Whoever proves to be of this cluster may call, also one that this replica has not heard of yet: it may be the
    // leader that would tell it. One that left may not.
    let left = applied.projection.borrow().cluster().has_left(caller);
    if left {
        return Some(format!(
            "replica {caller} left the cluster, and its id is not given again"
        ));
    }
    greeting.heed(caller, hello).err()
}

async fn answer_to(replica: &Answering, ask: Ask) -> io::Result<Told> {
    if let (Ask::Vote(_) | Ask::WouldVote(_), Err(trouble)) = (&ask, replica.disk.writable()) {
        // A vote that is not written down could be given twice.
        return Ok(Told::Disk(trouble.into()));
    }
    Ok(match ask {
        Ask::Append(append) => append::take(replica, append).await?,
        Ask::Vote(ask) => match replica.raft.vote(ask.request()?).await {
            Ok(response) => {
                if response.vote_granted {
                    replica.heard.note();
                }
                Told::Vote(Voted::of(&response))
            }
            Err(error) => Told::Failed(error.to_string()),
        },
        Ask::WouldVote(asked) => Told::WouldVote(replica.opinion_of(asked.last()).into()),
        Ask::LogEnd(()) => Told::LogEnd(LogEnd::of(replica.log.last())),
        Ask::TakeOver(last) => Told::TakeOver(replica.take_over(last.into()).await.err().unwrap_or_default()),
        Ask::Snapshot(piece) => match replica.disk.check() {
            Err(trouble) => Told::Disk(trouble.into()),
            Ok(()) => match snapshot::take(&replica.raft, &replica.incoming, piece).await {
                Ok(taken) => {
                    replica.heard.note();
                    Told::Snapshot(taken)
                }
                Err(error) => Told::Failed(error.to_string()),
            },
        },
        Ask::History(wanted) => {
            let history = replica.history.clone();
            let piece = tokio::task::spawn_blocking(move || history::piece(&history, &wanted)).await;
            match piece.map_err(io::Error::other)? {
                Ok(piece) => Told::History(piece),
                Err(error) => Told::Failed(error.to_string()),
            }
        }
    })
}

impl Answering {
    /// Notes that a leader speaks, unless another one was elected since.
    pub(super) fn hear(&self, vote: Vote) {
        if vote >= self.raft.metrics().borrow().vote {
            self.heard.note();
        }
    }

    /// What it thinks of a candidate whose log ends at `theirs`.
    fn opinion_of(&self, theirs: Option<LogId>) -> Opinion {
        let quiet = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow();
            match metrics.state {
                // It hears the others instead.
                ServerState::Leader => metrics.millis_since_quorum_ack.map(Duration::from_millis),
                _ => self.heard.quiet(),
            }
        };
        Opinion::of(theirs, self.log.last(), quiet, self.lease)
    }

    /// Stands for election, or says why not.
    async fn take_over(&self, last: LogId) -> Result<(), String> {
        if !self.able.is() {
            return Err("it does not reach the broker".to_owned());
        }
        self.disk.check().map_err(|trouble| trouble.to_string())?;
        // What Raft tells of itself may be a moment old.
        let raft = self.raft.wait(Some(MOMENT));
        let has_all = raft.metrics(|own| own.last_log_index >= Some(last.index), "the whole log");
        if has_all.await.is_err() {
            return Err(format!("its log does not reach to {}", last.index));
        }
        self.raft
            .trigger()
            .elect()
            .await
            .map_err(|error| error.to_string())
    }
}
