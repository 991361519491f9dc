//! Reads of the log itself, as it is stored: what a backup is made of.

use chv_domain::Seq;
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
