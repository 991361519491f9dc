//! A run of a table's entries as it lies in a file: compressed by itself, so that it can be taken over into the next file
//! as it is, and read beside others.

use std::fs::File;
use std::os::unix::fs::FileExt;

use chv_domain::stored;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::SnapshotError;

/// The most that a frame unpacks to: one entry can be large, more of them are cut long before.
const MOST: u32 = 256 << 20;

/// Where a frame is, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Frame<K> {
    /// Its first entry's key.
    pub(super) first: K,
    /// How many entries it has.
    pub(super) count: u32,
    /// Its offset in the file.
    pub(super) at: u64,
    /// Its length there.
    pub(super) length: u32,
    /// Bytes of its entries, not compressed.
    pub(super) plain: u32,
    /// CRC-32 (IEEE) of it as it lies there: it may be taken over long after it was written.
    pub(super) crc: u32,
}

impl<K> Frame<K> {
    /// Its bytes as they are in `file`; `None` where that has not what was written.
    pub(super) fn bytes(&self, file: &File) -> Option<Vec<u8>> {
        let mut bytes = vec![0; self.length as usize];
        file.read_exact_at(&mut bytes, self.at).ok()?;
        (crc32fast::hash(&bytes) == self.crc).then_some(bytes)
    }

    /// Its entries, where `body` is all of the file.
    pub(super) fn entries<V>(&self, body: &[u8]) -> Result<Vec<(K, V)>, SnapshotError>
    where
        K: DeserializeOwned,
        V: DeserializeOwned,
    {
        let part = usize::try_from(self.at)
            .ok()
            .and_then(|at| body.get(at..)?.get(..self.length as usize))
            .ok_or(SnapshotError::Damaged("a frame lies beyond its end"))?;
        if self.plain > MOST {
            return Err(SnapshotError::Damaged("a frame can't be that large"));
        }
        let plain = zstd::bulk::decompress(part, self.plain as usize)?;
        Ok(stored::read_each(&plain, self.count as usize)?)
    }
}
