//! The index of a sealed file.

use chv_domain::{RecordHash, Seq, Timestamp};
use serde::{Deserialize, Serialize};

/// Where the blocks of a file are, and how it ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Footer {
    /// In order; never empty.
    pub(crate) blocks: Vec<BlockInfo>,
    /// The last event.
    pub(crate) last: Seq,
    /// The hash of the last record.
    pub(crate) hash: RecordHash,
}

/// Where a block is, and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BlockInfo {
    /// Its first byte in the file.
    pub(crate) at: u64,
    /// Its size in the file.
    pub(crate) len: u32,
    /// Its size decompressed.
    pub(crate) raw: u32,
    /// CRC-32 of it as it is in the file.
    pub(crate) crc: u32,
    /// The first event.
    pub(crate) first: Seq,
    /// The hash of the record before it.
    pub(crate) prev: RecordHash,
    /// How many records.
    pub(crate) records: u32,
    /// The time of the first record.
    pub(crate) from: Timestamp,
    /// The time of the last record.
    pub(crate) to: Timestamp,
}

impl Footer {
    /// The time of the first record and of the last.
    pub(crate) fn times(&self) -> (Timestamp, Timestamp) {
        let from = self.blocks.first().map_or(Timestamp(0), |block| block.from);
        (from, self.blocks.last().map_or(from, |block| block.to))
    }

    /// How many records.
    #[cfg(test)]
    pub(crate) fn records(&self) -> u64 {
        self.blocks.iter().map(|block| u64::from(block.records)).sum()
    }

    /// The block that holds the event `seq`, if it is not after the last.
    pub(crate) fn block_of(&self, seq: Seq) -> Option<usize> {
        let after = self.blocks.partition_point(|block| block.first <= seq);
        after.checked_sub(1).filter(|_| seq <= self.last)
    }
}
