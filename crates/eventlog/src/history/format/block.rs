//! One block: records with their lengths, compressed.

use chv_domain::{Record, RecordHash, Seq};

use super::footer::BlockInfo;
use super::{FormatError, MAX_BLOCK, damaged};

/// Every replica does it for every record, under load too: level 3 takes twice the time for a tenth of the size.
const LEVEL: i32 = 1;

pub(super) fn compress(raw: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(raw, LEVEL).expect("compressing into memory does not fail")
}

/// Appends a record's stored frame to a block that is being made.
pub(super) fn push(raw: &mut Vec<u8>, frame: &[u8]) {
    raw.extend_from_slice(&(frame.len() as u32).to_le_bytes());
    raw.extend_from_slice(frame);
}

/// The records of a block, each decoded and its number checked; the chain of hashes is not, see [`chain`].
pub(super) fn decode(bytes: &[u8], info: &BlockInfo) -> Result<Vec<Record>, FormatError> {
    let bad = |what: &str| damaged(info.at, format!("the block from event {} on {what}", info.first));
    if bytes.len() != info.len as usize || crc32fast::hash(bytes) != info.crc {
        return Err(bad("does not check"));
    }
    let size = usize::try_from(info.raw)
        .ok()
        .filter(|size| *size <= MAX_BLOCK)
        .ok_or_else(|| bad("is larger than a block may be"))?;
    let raw =
        zstd::bulk::decompress(bytes, size).map_err(|error| bad(&format!("does not decompress: {error}")))?;
    let mut records: Vec<Record> = Vec::with_capacity(info.records.min(1 << 20) as usize);
    let mut rest = raw.as_slice();
    let mut next = info.first;
    while let Some((len, after)) = rest.split_first_chunk::<4>() {
        let len = u32::from_le_bytes(*len) as usize;
        let (frame, after) = after
            .split_at_checked(len)
            .ok_or_else(|| bad("ends within a record"))?;
        let record: Record =
            Record::read(frame).map_err(|error| bad(&format!("holds what is no record: {error}")))?;
        if record.first != next || record.events.is_empty() {
            return Err(chain_broken(info, record.first, "another event was to come"));
        }
        next = record.last().next();
        records.push(record);
        rest = after;
    }
    match rest.is_empty() && raw.len() == size && records.len() == info.records as usize {
        true => Ok(records),
        false => Err(bad("holds something else than its index says")),
    }
}

/// Checks that each record carries the hash of the one before; the hash of the last.
pub(super) fn chain(records: &[Record], info: &BlockInfo) -> Result<RecordHash, FormatError> {
    let mut hash = info.prev;
    let mut time = info.from;
    for record in records {
        if record.prev != hash {
            return Err(chain_broken(
                info,
                record.first,
                "it carries another hash of the record before it",
            ));
        }
        if record.time < time {
            return Err(chain_broken(
                info,
                record.first,
                "its time is before that of the record before it",
            ));
        }
        (hash, time) = (record.hash(), record.time);
    }
    Ok(hash)
}

fn chain_broken(info: &BlockInfo, seq: Seq, what: &'static str) -> FormatError {
    FormatError::Chain {
        at: info.at,
        seq,
        what,
    }
}
