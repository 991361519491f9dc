//! What goes through the broker.

use std::rc::Rc;

use chv_domain::{HostSlice, LeaseDuration, Projection, Seq, Submission};
use chv_hostd::lease::SinceBoot;
use chv_proto::v1;
use chv_scheduler::lead::publication::Mark;

/// Who sends commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sender {
    Client(usize),
    Host(usize),
    /// The office's own.
    Leader,
}

/// What came of a command, as its sender hears it.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) submission: Rc<Submission>,
    pub(crate) result: Result<v1::Accepted, v1::Refused>,
    /// What the checks want to know: the deciding office, and the state it was decided on.
    pub(crate) office: u64,
    pub(crate) on: Option<Seen>,
}

/// A state that somebody was told about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) seq: Seq,
    pub(crate) hash: chv_domain::RecordHash,
}

impl Seen {
    pub(crate) fn of(state: &Projection) -> Self {
        Self {
            seq: state.seq(),
            hash: state.hash(),
        }
    }
}

/// A host's heartbeat.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beat {
    pub(crate) host: usize,
    /// Of the daemon that sent it.
    pub(crate) life: u64,
    /// When, by the host's clock.
    pub(crate) sent: SinceBoot,
}

/// A message to a replica.
#[derive(Debug, Clone)]
pub(crate) enum ToReplica {
    Command {
        from: Sender,
        submission: Rc<Submission>,
    },
    Heartbeat(Beat),
    AskSlice {
        host: usize,
        asked: u64,
        least: Seq,
    },
    /// A read of the whole state: of the leader, or of one that has at least this.
    Query {
        client: usize,
        asked: u64,
        least: Option<Seq>,
    },
    AskPage {
        subscriber: usize,
        asked: u64,
        from: Seq,
        least: Seq,
    },
    Mark {
        office: u64,
        mark: Mark,
    },
}

/// A message to one who uses the scheduler.
#[derive(Debug, Clone)]
pub(crate) enum ToUser {
    Answer(Sender, Box<Answer>),
    Read {
        client: usize,
        asked: u64,
        seen: Option<Seen>,
    },
    HeartbeatReply {
        host: usize,
        registered: bool,
        feed: Seq,
        /// The request that is answered, and the lease that is granted with the answer.
        beat: Beat,
        lease: Option<LeaseDuration>,
    },
    Feed {
        host: usize,
        delta: Rc<v1::FeedDelta>,
    },
    Slice {
        host: usize,
        asked: u64,
        slice: Option<Rc<HostSlice>>,
    },
    Event {
        subscriber: usize,
        message: Rc<v1::EventMessage>,
    },
    Tick {
        subscriber: usize,
        seq: Seq,
    },
    Page {
        subscriber: usize,
        asked: u64,
        page: Option<Rc<EventPage>>,
    },
}

impl ToUser {
    /// The host that it is for, if it is for one.
    pub(crate) const fn to_host(&self) -> Option<usize> {
        match self {
            Self::Answer(Sender::Host(host), _)
            | Self::HeartbeatReply { host, .. }
            | Self::Feed { host, .. }
            | Self::Slice { host, .. } => Some(*host),
            _ => None,
        }
    }
}

/// A page of events, as a replica reads it from its log.
#[derive(Debug)]
pub(crate) struct EventPage {
    pub(crate) events: Vec<v1::EventMessage>,
    pub(crate) next: Seq,
    pub(crate) more: bool,
    pub(crate) applied: Seq,
}

/// A message from a leader to the broker.
#[derive(Debug, Clone)]
pub(crate) enum ToBroker {
    Event(Rc<v1::EventMessage>),
    Feed { host: usize, delta: Rc<v1::FeedDelta> },
    Tick(Seq),
    Mark { office: u64, mark: Mark },
}
