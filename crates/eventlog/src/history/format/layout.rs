//! Reads a sealed file: its index first, then the blocks that are wanted.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use chv_domain::{Record, stored};
use sha2::{Digest, Sha256};

use super::footer::{BlockInfo, Footer};
use super::header::{self, Header};
use super::trailer::{self, Trailer};
use super::{FormatError, block, damaged};

/// The largest footer that is read: a file of 4 GiB would have one of this size.
const MAX_FOOTER: u32 = 16 << 20;

/// Where a sealed file's bytes come from.
pub(crate) trait Source {
    /// How many there are.
    fn size(&self) -> io::Result<u64>;
    /// `len` of them, from `at` on.
    fn bytes(&self, at: u64, len: usize) -> io::Result<Vec<u8>>;
}

impl Source for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn bytes(&self, at: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }
}

impl Source for [u8] {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn bytes(&self, at: u64, len: usize) -> io::Result<Vec<u8>> {
        let from = usize::try_from(at).unwrap_or(usize::MAX);
        let to = from.saturating_add(len);
        self.get(from..to)
            .map(<[u8]>::to_vec)
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// What a sealed file says of itself; its blocks are read and checked when they are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Whose records, and from where on.
    pub(crate) header: Header,
    /// Where they are, and how the file ends.
    pub(crate) footer: Footer,
    /// Bytes of the file.
    pub(crate) size: u64,
    /// SHA-256 of all that is before the trailer.
    pub(crate) digest: [u8; 32],
}

impl Layout {
    /// Reads header and index, and checks them and that they fit each other.
    pub(crate) fn read(source: &(impl Source + ?Sized)) -> Result<Self, FormatError> {
        let size = source.size().map_err(|error| failed(0, &error))?;
        let least = (header::LEN + trailer::LEN) as u64;
        if size < least {
            return Err(damaged(
                size,
                format!("a file of {size} bytes is no sealed file: it is cut off"),
            ));
        }
        let get = |at: u64, len: usize| source.bytes(at, len).map_err(|error| failed(at, &error));
        let header = Header::decode(&get(0, header::LEN)?)?;
        let end = size - trailer::LEN as u64;
        let trailer = Trailer::decode(&get(end, trailer::LEN)?, end)?;
        if trailer.footer < header::LEN as u64 || trailer.footer_len > MAX_FOOTER {
            return Err(damaged(end, "the trailer tells a footer that can't be"));
        }
        let footer: Footer = stored::decode(&get(trailer.footer, trailer.footer_len as usize)?)
            .map_err(|error| damaged(trailer.footer, format!("the footer: {error}")))?;
        let layout = Self {
            header,
            footer,
            size,
            digest: trailer.digest,
        };
        match layout.fits(trailer.footer) {
            true => Ok(layout),
            false => Err(damaged(trailer.footer, "the footer does not fit the file")),
        }
    }

    /// Whether the blocks follow each other from the header to the footer, in the order of their events.
    fn fits(&self, footer: u64) -> bool {
        let blocks = &self.footer.blocks;
        let begins = blocks
            .first()
            .is_some_and(|first| first.first == self.header.first && first.prev == self.header.prev);
        let mut at = header::LEN as u64;
        let adjoin = blocks.iter().all(|block| {
            let here = block.at == at;
            at = at.saturating_add(u64::from(block.len));
            here && block.records > 0 && block.from <= block.to
        });
        let ordered = blocks
            .windows(2)
            .all(|pair| pair[0].first < pair[1].first && pair[0].to <= pair[1].from);
        let ends = blocks.last().is_some_and(|last| last.first <= self.footer.last);
        begins && adjoin && ordered && ends && at == footer
    }

    /// The records of block `index`: whole, and numbered as the index says. Their chain is not checked.
    pub(crate) fn records(
        &self,
        source: &(impl Source + ?Sized),
        index: usize,
    ) -> Result<Vec<Record>, FormatError> {
        let Some(info) = self.footer.blocks.get(index) else {
            return Ok(Vec::new());
        };
        let bytes = source
            .bytes(info.at, info.len as usize)
            .map_err(|error| failed(info.at, &error))?;
        let records = block::decode(&bytes, info)?;
        let ends = match self.footer.blocks.get(index + 1) {
            Some(next) => next.first,
            None => self.footer.last.next(),
        };
        let times = |records: &[Record]| {
            let (first, last) = (records.first()?, records.last()?);
            Some(first.time == info.from && last.time == info.to && last.last().next() == ends)
        };
        match times(&records) {
            Some(true) => Ok(records),
            _ => Err(damaged(
                info.at,
                format!(
                    "the block from event {} on holds something else than its index says",
                    info.first
                ),
            )),
        }
    }

    /// As [`Self::records`], with the chain of hashes checked from the hash that the index tells up to the hash
    /// that it tells of the next block, or of the file's end.
    pub(crate) fn verified(
        &self,
        source: &(impl Source + ?Sized),
        index: usize,
    ) -> Result<Vec<Record>, FormatError> {
        let records = self.records(source, index)?;
        let Some(info) = self.footer.blocks.get(index) else {
            return Ok(records);
        };
        let hash = block::chain(&records, info)?;
        let expected = match self.footer.blocks.get(index + 1) {
            Some(BlockInfo { prev, .. }) => *prev,
            None => self.footer.hash,
        };
        match hash == expected {
            true => Ok(records),
            false => Err(FormatError::Chain {
                at: info.at,
                seq: records.last().map_or(info.first, |record| record.last()),
                what: "the index tells another hash of the block's last record",
            }),
        }
    }
}

/// Reads all of a sealed file and checks all that can be checked. `each` is given the records, block by block.
pub(crate) fn verify(
    source: &(impl Source + ?Sized),
    mut each: impl FnMut(Vec<Record>),
) -> Result<Layout, FormatError> {
    let layout = Layout::read(source)?;
    for index in 0..layout.footer.blocks.len() {
        each(layout.verified(source, index)?);
    }
    let (mut sha, mut at) = (Sha256::new(), 0);
    let end = layout.size - trailer::LEN as u64;
    while at < end {
        let len = (end - at).min(1 << 20) as usize;
        sha.update(source.bytes(at, len).map_err(|error| failed(at, &error))?);
        at += len as u64;
    }
    match <[u8; 32]>::from(sha.finalize()) == layout.digest {
        true => Ok(layout),
        false => Err(damaged(end, "the SHA-256 of the whole file does not match")),
    }
}

fn failed(at: u64, error: &io::Error) -> FormatError {
    FormatError::Io {
        at,
        why: error.to_string(),
    }
}
