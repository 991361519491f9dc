//! Makes a sealed file out of records, in memory.

use chv_domain::stored;
use chv_domain::{Record, RecordHash, Seq, Timestamp};

use super::footer::{BlockInfo, Footer};
use super::header::Header;
use super::trailer::Trailer;
use super::{BLOCK, block};

/// A file in the making.
#[derive(Debug)]
pub(crate) struct Builder {
    bytes: Vec<u8>,
    blocks: Vec<BlockInfo>,
    /// The block that is being filled.
    raw: Vec<u8>,
    open: Option<Open>,
    /// The first event.
    first: Seq,
    /// The last event that was taken.
    last: Seq,
    /// The hash of its record.
    hash: RecordHash,
    /// Bytes of all records taken, as stored.
    size: usize,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    first: Seq,
    prev: RecordHash,
    records: u32,
    from: Timestamp,
    to: Timestamp,
}

/// Why a record was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotTaken {
    /// Another one was to come.
    #[error("the record with event {found} does not follow event {last} in the chain")]
    Chain {
        /// The record's first event.
        found: Seq,
        /// The last event that was taken.
        last: Seq,
    },
}

impl Builder {
    /// A file of the records from `header.first` on.
    pub(crate) fn new(header: Header) -> Self {
        Self {
            bytes: header.encode().to_vec(),
            blocks: Vec::new(),
            raw: Vec::new(),
            open: None,
            first: header.first,
            last: Seq(header.first.0.saturating_sub(1)),
            hash: header.prev,
            size: 0,
        }
    }

    /// Takes the next record. One that does not continue the chain is refused, and changes nothing.
    pub(crate) fn push(&mut self, record: &Record) -> Result<(), NotTaken> {
        if record.first != self.last.next() || record.prev != self.hash || record.events.is_empty() {
            return Err(NotTaken::Chain {
                found: record.first,
                last: self.last,
            });
        }
        let frame = record.stored();
        if !self.raw.is_empty() && self.raw.len() + frame.len() > BLOCK {
            self.close_block();
        }
        let open = self.open.get_or_insert(Open {
            first: record.first,
            prev: record.prev,
            records: 0,
            from: record.time,
            to: record.time,
        });
        open.records += 1;
        open.to = record.time;
        block::push(&mut self.raw, frame);
        self.size += frame.len();
        (self.last, self.hash) = (record.last(), record.hash());
        Ok(())
    }

    /// The first event.
    pub(crate) fn first(&self) -> Seq {
        self.first
    }

    /// The last event taken, and its record's hash.
    pub(crate) fn end(&self) -> (Seq, RecordHash) {
        (self.last, self.hash)
    }

    /// Bytes of the records taken, as stored.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// The whole file; `None` when no record was taken.
    pub(crate) fn finish(mut self) -> Option<Vec<u8>> {
        self.close_block();
        if self.blocks.is_empty() {
            return None;
        }
        let at = self.bytes.len();
        let footer = Footer {
            blocks: self.blocks,
            last: self.last,
            hash: self.hash,
        };
        let footer = stored::encode(&footer).expect("a footer is made of values that always encode");
        self.bytes.extend_from_slice(&footer);
        let trailer = Trailer::of(&self.bytes, at);
        self.bytes.extend_from_slice(&trailer.encode());
        Some(self.bytes)
    }

    fn close_block(&mut self) {
        let Some(open) = self.open.take() else { return };
        let compressed = block::compress(&self.raw);
        self.blocks.push(BlockInfo {
            at: self.bytes.len() as u64,
            len: compressed.len() as u32,
            raw: self.raw.len() as u32,
            crc: crc32fast::hash(&compressed),
            first: open.first,
            prev: open.prev,
            records: open.records,
            from: open.from,
            to: open.to,
        });
        self.bytes.extend_from_slice(&compressed);
        self.raw.clear();
    }
}
