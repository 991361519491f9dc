//! Reads of the log itself, as it is stored, and of the state that it begins with: what a backup is made of.

use chv_domain::Seq;
use chv_proto::convert::refused;
use chv_proto::v1;

use super::{Reader, event};

/// How many records a page has at most; what a stored one takes beside its bytes is a few.
const PAGE_RECORDS: usize = 4096;

pub(super) async fn read(reader: &Reader, query: v1::ReadLog) -> Result<v1::RecordPage, v1::Refused> {
    let unreadable = |error| event::unreadable(&error);
    let from = match query.from_seq {
        0 => reader.log.kept().await.map_err(unreadable)?.oldest,
        seq => Seq(seq),
    };
    let read = reader.log.read(from, PAGE_RECORDS, reader.page_bytes()).await;
    let mut records = read.map_err(unreadable)?;
    // The last one may be more than there was room for.
    let size = |records: &[chv_domain::Record]| {
        records
            .iter()
            .map(|record| record.stored().len() + 8)
            .sum::<usize>()
    };
    while records.len() > 1 && size(&records) > reader.page_bytes() {
        records.pop();
    }
    Ok(v1::RecordPage {
        next_seq: records.last().map_or(from, |record| record.last().next()).0,
        records: records.iter().map(|record| record.stored().to_vec()).collect(),
        cluster: reader.cluster.to_string(),
    })
}

/// A piece of the state before the first kept event.
pub(super) async fn base(reader: &Reader, query: v1::ReadBase) -> Result<v1::BasePiece, v1::Refused> {
    let room = reader.page_bytes() as u64;
    let piece = reader.log.base(query.digest, query.offset, room).await;
    let Some(piece) = piece.map_err(|error| event::unreadable(&error))? else {
        let message = "the state before the first kept event is not on the leader's disk, or not yet";
        return Err(v1::Refused {
            retryable: true,
            retry_after_ms: 500,
            ..refused("unavailable", message, "")
        });
    };
    Ok(v1::BasePiece {
        seq: piece.seq.0,
        digest: piece.digest.to_vec(),
        size: piece.size,
        data: piece.data,
        cluster: reader.cluster.to_string(),
    })
}
