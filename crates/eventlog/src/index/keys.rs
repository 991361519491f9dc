//! What a record is found by, and the keys for it. Pure.
//!
//! ```text
//! entries   first seq of a log entry's first record    -> the entry
//! found-by  what a record is found by, its first seq   -> nothing
//! times     a record's time, its first seq             -> nothing; sparse
//! ```
//!
//! Numbers are big endian, so keys are in the order of numbers. Times never go back along the log, so a time is
//! found from the last key before it by reading on; one record in about [`TIMES_EVERY`] events has a key.

use chv_domain::{Actor, CommandId, Record, Resource, Seq, Timestamp};

/// The form of the index. One of another form is made again.
pub(super) const VERSION: u32 = 2;

/// How many events there are between two keys of times.
pub(crate) const TIMES_EVERY: u64 = 1024;

/// What a record is found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Term {
    /// It has an event about this.
    Resource(Resource),
    /// It is by this author.
    Actor(Actor),
    /// It is of this command.
    Command(CommandId),
}

impl Term {
    /// What the keys of all records that this finds begin with.
    pub(super) fn prefix(&self) -> Vec<u8> {
        match self {
            Self::Resource(Resource::Vm(vm)) => [b"v".as_slice(), &vm.to_bytes()].concat(),
            Self::Resource(Resource::Host(host)) => [b"h".as_slice(), &host.to_bytes()].concat(),
            Self::Resource(Resource::Cluster) => b"l".to_vec(),
            // A NUL ends the name, which has none: so no name's keys are another's.
            Self::Actor(actor) => [b"a".as_slice(), actor.to_string().as_bytes(), b"\0"].concat(),
            Self::Command(command) => [b"c".as_slice(), &command.to_bytes()].concat(),
        }
    }
}

/// The keys that find a record, each once.
pub(super) fn found_by(record: &Record) -> Vec<Vec<u8>> {
    let about = record.events.iter().map(|event| Term::Resource(event.resource()));
    let rest = [
        Term::Actor(record.actor.clone()),
        Term::Command(record.cause.command),
    ];
    let mut keys: Vec<_> = about
        .chain(rest)
        .map(|term| key(&term.prefix(), record.first))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// The key of a record's time, if it has one.
pub(super) fn time(record: &Record) -> Option<Vec<u8>> {
    let before = Seq(record.first.0.saturating_sub(1));
    let marked = before.0 / TIMES_EVERY != record.last().0 / TIMES_EVERY;
    marked.then(|| time_key(record.time, record.first))
}

pub(super) fn time_key(time: Timestamp, first: Seq) -> Vec<u8> {
    key(&time.0.to_be_bytes(), first)
}

pub(super) fn key(prefix: &[u8], seq: Seq) -> Vec<u8> {
    [prefix, &seq.0.to_be_bytes()].concat()
}

/// The seq that a key ends with.
pub(super) fn seq_of(key: &[u8]) -> Option<Seq> {
    key.len()
        .checked_sub(8)
        .and_then(|at| number(&key[at..]))
        .map(Seq)
}

pub(super) fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}
