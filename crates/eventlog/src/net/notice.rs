//! How a follower hears that entries are committed when there is nothing else to send it: a moment later, and on a
//! connection of its own.
//!
//! Raft tells each follower of every commit in a message of its own, and sends no entry before that is answered. Under
//! load the next entries say it just as well; so what says nothing else waits until nothing else was said for a moment.
//! Raft is answered meanwhile as the follower answered just before, and takes it to have heard of the follower now: it
//! was at most [`FRESH`] ago.

use std::time::{Duration, Instant};

use openraft::raft::AppendEntriesRequest;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::peer::Peer;
use crate::raft::{LogId, TypeConfig, Vote};

/// How long nothing else must have been said.
const QUIET: Duration = Duration::from_millis(2);

/// How long ago the follower may have answered last for a message to be put off: less than what its leader's heartbeats
/// are apart, by far.
const FRESH: Duration = Duration::from_millis(50);

/// How long the follower may take to answer.
const PATIENCE: Duration = Duration::from_millis(250);

type Request = AppendEntriesRequest<TypeConfig>;

/// A message that was put off.
struct PutOff {
    request: Request,
    since: Instant,
}

/// What is put off for one follower.
#[derive(Default)]
pub(super) struct Notice {
    /// What the follower said last that it has, to whom, and when.
    has: Option<(Vote, LogId, Instant)>,
    later: Option<Later>,
}

/// Who says it later.
struct Later {
    put_off: watch::Sender<Option<PutOff>>,
    _task: AbortOnDropHandle<()>,
}

impl Notice {
    /// Whether `request` says nothing but how far the log is committed, to a follower that answered just now; it is said
    /// later then. `another` makes a connection to the follower.
    pub(super) fn puts_off(&mut self, request: &Request, another: impl FnOnce() -> Peer) -> bool {
        let fresh = self.has.is_some_and(|(vote, last, when)| {
            vote == request.vote && Some(last) == request.prev_log_id && when.elapsed() < FRESH
        });
        if !fresh || !request.entries.is_empty() {
            return false;
        }
        let later = self.later.get_or_insert_with(|| Later::begin(another()));
        later.put_off.send_replace(Some(PutOff {
            request: request.clone(),
            since: Instant::now(),
        }));
        true
    }

    /// The follower answered that it has the log up to `last`, and was shown that it is committed up to `committed`.
    pub(super) fn took(&mut self, vote: Vote, last: Option<LogId>, committed: Option<LogId>) {
        self.has = last.map(|last| (vote, last, Instant::now()));
        if let Some(later) = &self.later {
            later.put_off.send_if_modified(|put_off| {
                put_off
                    .take_if(|put_off| put_off.request.leader_commit <= committed)
                    .is_some()
            });
        }
    }

    /// What the follower has is not known.
    pub(super) fn unknown(&mut self) {
        self.has = None;
    }
}

impl Later {
    fn begin(peer: Peer) -> Self {
        let (put_off, to_say) = watch::channel(None);
        let task = AbortOnDropHandle::new(tokio::spawn(say(peer, put_off.clone(), to_say)));
        Self { put_off, _task: task }
    }
}

/// Says what was put off, until nobody puts off any more.
async fn say(
    mut peer: Peer,
    put_off: watch::Sender<Option<PutOff>>,
    mut to_say: watch::Receiver<Option<PutOff>>,
) {
    while to_say.wait_for(Option::is_some).await.is_ok() {
        tokio::time::sleep(QUIET).await;
        let due = match &*to_say.borrow() {
            Some(put_off) if put_off.since.elapsed() >= QUIET => put_off.request.clone(),
            Some(_) | None => continue,
        };
        // Where it fails, the next heartbeat says it.
        let _ = tokio::time::timeout(PATIENCE, peer.append(due.clone(), PATIENCE)).await;
        put_off.send_if_modified(|put_off| {
            put_off
                .take_if(|put_off| put_off.request.leader_commit <= due.leader_commit)
                .is_some()
        });
    }
}
