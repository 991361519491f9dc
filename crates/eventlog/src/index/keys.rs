//! What a record is found by, and the keys of times. Pure.
//!
//! ```text
//! blocks    number of a block of events         -> what is in it, see `block`
//! times     a record's time, its first seq      -> nothing; sparse
//! ```
//!
//! Numbers are big endian, so keys are in the order of numbers. Times never go back along the log, so a time is
//! found from the last key before it by reading on; one record in about [`TIMES_EVERY`] events has a key.

use chv_domain::{Actor, CommandId, Record, Resource, Seq, Timestamp};

/// The form of the index. One of another form is made again.
pub(super) const VERSION: u32 = 3;

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

/// 32 bits that stand for a term in a block. Two terms may have the same: a block that has a term's print may not have
/// the term, one that has not has it not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Print(pub(super) u32);

impl Term {
    /// The term's print: stored, so it must stay what it is for as long as [`VERSION`] does.
    pub(super) fn print(&self) -> Print {
        let mut hasher = crc32fast::Hasher::new();
        match self {
            Self::Resource(Resource::Vm(vm)) => {
                hasher.update(b"v");
                hasher.update(&vm.to_bytes());
            }
            Self::Resource(Resource::Host(host)) => {
                hasher.update(b"h");
                hasher.update(&host.to_bytes());
            }
            Self::Resource(Resource::Cluster) => hasher.update(b"l"),
            Self::Actor(actor) => {
                hasher.update(b"a");
                hasher.update(actor.to_string().as_bytes());
            }
            Self::Command(command) => {
                hasher.update(b"c");
                hasher.update(&command.to_bytes());
            }
        }
        Print(hasher.finalize())
    }

    /// Whether this finds `record`.
    pub(crate) fn finds(&self, record: &Record) -> bool {
        match self {
            Self::Resource(resource) => record.events.iter().any(|event| event.resource() == *resource),
            Self::Actor(actor) => record.actor == *actor,
            Self::Command(command) => record.cause.command == *command,
        }
    }
}

/// The key of a record's time, if it has one.
pub(super) fn time(record: &Record) -> Option<[u8; 16]> {
    let before = Seq(record.first.0.saturating_sub(1));
    let marked = before.0 / TIMES_EVERY != record.last().0 / TIMES_EVERY;
    marked.then(|| time_key(record.time, record.first))
}

pub(super) fn time_key(time: Timestamp, first: Seq) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&time.0.to_be_bytes());
    key[8..].copy_from_slice(&first.0.to_be_bytes());
    key
}

/// The seq that a key of times ends with.
pub(super) fn seq_of(key: &[u8]) -> Option<Seq> {
    key.len()
        .checked_sub(8)
        .and_then(|at| number(&key[at..]))
        .map(Seq)
}

pub(super) fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}
