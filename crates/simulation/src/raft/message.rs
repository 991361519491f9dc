//! What replicas say to each other.

use std::rc::Rc;

use super::disk::{Ballot, Entry, LogId, Snapshot};

/// One message. Each says for which ballot it is meant, so that a late or doubled one does no harm.
#[derive(Debug, Clone)]
pub(crate) enum Message {
    AskVote {
        ballot: Ballot,
        last: LogId,
    },
    Voted {
        ballot: Ballot,
        granted: bool,
    },
    Append {
        ballot: Ballot,
        prev: LogId,
        entries: Vec<Rc<Entry>>,
        committed: u64,
        round: u64,
    },
    /// The sender's log is the leader's up to `upto`; or, when not, the leader may try from there.
    Appended {
        ballot: Ballot,
        matches: bool,
        upto: u64,
        round: u64,
    },
    /// The sender knows a later ballot.
    Outvoted {
        ballot: Ballot,
    },
    Install {
        ballot: Ballot,
        snapshot: Rc<Snapshot>,
        round: u64,
    },
}
