//! A block of [`EVENTS`] events in a row, as the index holds it: which terms its events are found by, and where in the
//! log it begins. Pure.
//!
//! A key for each event and term would be looked up faster, and cost more than all else that a commit costs. A block
//! costs one write for many events, and whoever searches reads the events of the blocks that may have what is sought.
//!
//! ```text
//! first seq, entry    u64, u64, big endian: of the first record that begins in the block and was taken from the log;
//!                     all ones when there is none
//! prints              u32 each, big endian, ascending, each once
//! ```

use chv_domain::{Record, Seq};

use super::keys::{Print, Term};

/// How many events are in a block: each adds three prints at most, and a block stays below 4 KiB.
pub(super) const EVENTS: u64 = 256;

/// The number of a block: its events are those whose number divided by [`EVENTS`] is this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Number(pub(super) u64);

impl Number {
    /// Of the block with this event.
    pub(super) const fn of(seq: Seq) -> Self {
        Self(seq.0 / EVENTS)
    }

    /// The block's first event.
    pub(super) const fn first(self) -> Seq {
        Seq(self.0 * EVENTS)
    }

    /// Its last.
    pub(super) const fn last(self) -> Seq {
        Seq(self.0 * EVENTS + (EVENTS - 1))
    }

    pub(super) const fn key(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

/// Where a record begins, and the entry of the log that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Anchor {
    pub(super) first: Seq,
    pub(super) entry: u64,
}

/// What the index holds of a block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) anchor: Option<Anchor>,
    /// Ascending and each once, when it is read or was [`sorted`](Self::sorted).
    pub(super) prints: Vec<Print>,
}

const HEAD: usize = 16;
const NONE: u64 = u64::MAX;

impl Block {
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let prints = bytes.get(HEAD..)?.chunks(4).map(|print| print.try_into().ok());
        let prints = prints.map(|print| print.map(|print| Print(u32::from_be_bytes(print))));
        Some(Self {
            anchor: anchor(bytes)?,
            prints: prints.collect::<Option<_>>()?,
        })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD + 4 * self.prints.len());
        let (first, entry) = self.anchor.map_or((NONE, NONE), |at| (at.first.0, at.entry));
        bytes.extend(first.to_be_bytes());
        bytes.extend(entry.to_be_bytes());
        for print in &self.prints {
            bytes.extend(print.0.to_be_bytes());
        }
        bytes
    }

    /// With each print once, in order.
    pub(super) fn sorted(mut self) -> Self {
        self.prints.sort_unstable();
        self.prints.dedup();
        self
    }

    /// Whether it has all that `other` has.
    pub(super) fn holds(&self, other: &Self) -> bool {
        other
            .prints
            .iter()
            .all(|print| self.prints.binary_search(print).is_ok())
    }
}

/// Where the log is to be read for a stored block; `None` within when no record begins in it.
pub(super) fn anchor(block: &[u8]) -> Option<Option<Anchor>> {
    let number = |at: usize| block.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes);
    let (first, entry) = (number(0)?, number(8)?);
    Some((first != NONE).then_some(Anchor {
        first: Seq(first),
        entry,
    }))
}

/// Whether a stored block has this print.
pub(super) fn has(block: &[u8], print: Print) -> bool {
    let prints = block.get(HEAD..).unwrap_or_default();
    let (prints, _) = prints.as_chunks::<4>();
    prints
        .binary_search_by_key(&print.0, |print| u32::from_be_bytes(*print))
        .is_ok()
}

/// Blocks in the making, out of records in their order.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// The block that the last record ended in.
    open: Option<(Number, Block)>,
}

impl Blocks {
    /// Takes a record in, of the log's entry `entry` or of sealed history. `full` is given each block that it is not the
    /// end of, as [`Block::sorted`].
    pub(super) fn take<E>(
        &mut self,
        entry: Option<u64>,
        record: &Record,
        mut full: impl FnMut(Number, Block) -> Result<(), E>,
    ) -> Result<(), E> {
        let of_all = [
            Term::Actor(record.actor.clone()).print(),
            Term::Command(record.cause.command).print(),
        ];
        let mut before = None;
        for (seq, event) in record.numbered() {
            let number = Number::of(seq);
            if let Some((number, block)) = self.open.take_if(|(open, _)| *open != number) {
                full(number, block.sorted())?;
            }
            let (_, block) = self.open.get_or_insert_with(|| (number, Block::default()));
            if let Some(entry) = entry.filter(|_| seq == record.first) {
                block.anchor.get_or_insert(Anchor { first: seq, entry });
            }
            if before.replace(number) != Some(number) {
                block.prints.extend(of_all);
            }
            block.prints.push(Term::Resource(event.resource()).print());
        }
        Ok(())
    }

    /// The block that is not full.
    pub(super) fn end(self) -> Option<(Number, Block)> {
        self.open.map(|(number, block)| (number, block.sorted()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_block_reads_as_it_was_written_and_has_just_its_prints(
            prints in proptest::collection::vec(0..500_u32, 0..200),
            at in proptest::option::of((0..u64::MAX, 0..u64::MAX)),
            sought in 0..500_u32,
        ) {
            let block = Block {
                anchor: at.map(|(first, entry)| Anchor { first: Seq(first), entry }),
                prints: prints.iter().copied().map(Print).collect(),
            };
            let block = block.sorted();
            let stored = block.encode();
            prop_assert_eq!(Block::decode(&stored), Some(block.clone()));
            prop_assert_eq!(anchor(&stored), Some(block.anchor));
            prop_assert_eq!(has(&stored, Print(sought)), prints.contains(&sought));
        }

        #[test]
        fn no_bytes_make_a_block_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = (Block::decode(&bytes), anchor(&bytes), has(&bytes, Print(7)));
        }
    }
}
