//! What was seen.

use std::time::Duration;

use chv_domain::{CommandId, Seq, VmId};

/// A moment of the run, since its beginning. All clients share one clock.
pub type Moment = Duration;

/// All that was seen in a run.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// The events that are left at the end, from the first.
    pub trail: Vec<Fact>,
    /// What was asked for.
    pub sent: Vec<Sent>,
    /// What was read.
    pub looks: Vec<Look>,
    /// What each subscriber was given, from the first event, across all of its reconnects.
    pub streams: Vec<Vec<(Seq, CommandId)>>,
}

/// An event, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fact {
    /// Its number.
    pub seq: Seq,
    /// Why.
    pub command: CommandId,
    /// What it changed.
    pub changed: Changed,
}

/// What an event changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// What this VM should be, so its revision.
    Wish(VmId),
    /// Something else.
    Other,
}

/// A command, sent once by its client; retries below it are the client library's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Its id. The same one twice is the same command, sent again.
    pub command: CommandId,
    /// The VM it is about.
    pub vm: VmId,
    /// The revision that it expects.
    pub expected: Seq,
    /// When it was sent.
    pub at: Moment,
    /// When the answer came, or nothing was waited for any more.
    pub until: Moment,
    /// The answer.
    pub told: Told,
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// It is done, as these events.
    Done {
        /// The first.
        first: Seq,
        /// The last.
        last: Seq,
    },
    /// It was so already.
    Unchanged,
    /// The VM had another revision than the expected one.
    Conflict,
    /// Nothing that says whether it was done.
    Nothing,
}

/// Who was asked in a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// The leader: it has seen all that was acknowledged.
    Leader,
    /// Any replica that has applied this event.
    Any(Seq),
}

/// A read of one VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Whose session it is part of.
    pub client: usize,
    /// Which VM.
    pub vm: VmId,
    /// Who was asked.
    pub view: View,
    /// When it was sent.
    pub at: Moment,
    /// When the answer came.
    pub until: Moment,
    /// The last event that the replica had applied when it answered.
    pub applied: Seq,
    /// The revision that the VM had.
    pub revision: Seq,
}
