//! How far the log was known to be committed, so that a restarted replica does not serve an older state than it
//! did before.
//!
//! A hint only, and so never flushed: it is written after the entries that it speaks of were, so after a power
//! loss it can be too old, but never too new. Two slots are written in turn; the newer one that reads counts.

use std::fs::{File, OpenOptions};
use std::io;
use std::marker::PhantomData;
use std::os::unix::fs::FileExt;

use chv_domain::stored;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Dir;

const NAME: &str = "committed";
const SLOT: usize = 256;

/// The file `committed`, with values of `T`.
#[derive(Debug)]
pub(crate) struct CommittedHint<T> {
    file: File,
    writes: u64,
    value: PhantomData<T>,
}

impl<T: Serialize + DeserializeOwned> CommittedHint<T> {
    /// Opens or creates it, and returns what the last write said.
    pub(crate) fn open(dir: &Dir) -> io::Result<(Self, Option<T>)> {
        let path = dir.path().join(NAME);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        let bytes = std::fs::read(&path)?;
        let newest = newest(&bytes);
        let writes = newest.as_ref().map_or(0, |(count, _)| count + 1);
        let hint = Self {
            file,
            writes,
            value: PhantomData,
        };
        Ok((hint, newest.map(|(_, value)| value)))
    }

    /// What the last write said, without opening it for writing; `None` also where there is no such file.
    pub(crate) fn last(dir: &Dir) -> io::Result<Option<T>> {
        match std::fs::read(dir.path().join(NAME)) {
            Ok(bytes) => Ok(newest(&bytes).map(|(_, value)| value)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Notes `value`.
    pub(crate) fn write(&mut self, value: &T) -> io::Result<()> {
        let frame = stored::encode(&(self.writes, value)).map_err(io::Error::other)?;
        if frame.len() + 2 > SLOT {
            return Err(io::Error::other("a hint is too large"));
        }
        let mut slot = (frame.len() as u16).to_be_bytes().to_vec();
        slot.extend_from_slice(&frame);
        slot.resize(SLOT, 0);
        self.file.write_all_at(&slot, (self.writes % 2) * SLOT as u64)?;
        self.writes += 1;
        Ok(())
    }
}

fn newest<T: DeserializeOwned>(bytes: &[u8]) -> Option<(u64, T)> {
    bytes
        .chunks(SLOT)
        .filter_map(read_slot)
        .max_by_key(|(count, _)| *count)
}

fn read_slot<T: DeserializeOwned>(slot: &[u8]) -> Option<(u64, T)> {
    let length = u16::from_be_bytes(slot.get(..2)?.try_into().ok()?);
    stored::decode(slot.get(2..2 + usize::from(length))?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_slot_that_reads_counts() {
        // given five writes
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        let (mut hint, found) = CommittedHint::<u64>::open(&dir).unwrap();
        assert_eq!(found, None);
        for value in 1..=5 {
            hint.write(&value).unwrap();
        }
        assert_eq!(CommittedHint::<u64>::open(&dir).unwrap().1, Some(5));

        // when the slot of the last one is torn, then the one before counts
        let path = temp.path().join(NAME);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[10] ^= 0xff;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(CommittedHint::<u64>::open(&dir).unwrap().1, Some(4));
    }
}
