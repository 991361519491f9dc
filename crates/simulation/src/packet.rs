//! What goes through the broker.

use std::rc::Rc;

use chv_domain::{HostSlice, Projection, Seq, Submission};
use chv_proto::v1;

/// Who sends commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sender {
    Client(usize),
    Host(usize),
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

/// A message to a replica.
#[derive(Debug, Clone)]
pub(crate) enum ToReplica {
    Command {
        from: Sender,
        submission: Rc<Submission>,
    },
    Heartbeat {
        host: usize,
    },
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
        mark: Seq,
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
    Mark { office: u64, mark: Seq },
}
