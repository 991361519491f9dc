//! What sealed files hold, and how they go together. No disk.

use chv_domain::{RecordHash, Seq, Timestamp};

use super::format::Layout;

/// What their names end with.
pub(super) const SUFFIX: &str = ".history";

/// What one sealed file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// The first event.
    pub(crate) first: Seq,
    /// The hash of the record before it.
    pub(crate) prev: RecordHash,
    /// The last event.
    pub(crate) last: Seq,
    /// The hash of the last record.
    pub(crate) hash: RecordHash,
    /// The time of the first record.
    pub(crate) from: Timestamp,
    /// The time of the last record.
    pub(crate) to: Timestamp,
    /// Bytes of the file.
    pub(crate) size: u64,
    /// SHA-256 of its content.
    pub(crate) digest: [u8; 32],
}

impl Sealed {
    pub(super) fn of(layout: &Layout) -> Self {
        let (from, to) = layout.footer.times();
        Self {
            first: layout.header.first,
            prev: layout.header.prev,
            last: layout.footer.last,
            hash: layout.footer.hash,
            from,
            to,
            size: layout.size,
            digest: layout.digest,
        }
    }

    /// The name of its file.
    pub(crate) fn file_name(&self) -> String {
        file_name(self.first)
    }
}

/// What a sealed file of this replica holds, for who decides how much of history is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedFile {
    /// The last event in it.
    pub last: Seq,
    /// When its last record was decided.
    pub to: Timestamp,
    /// Bytes on the disk.
    pub bytes: u64,
}

/// The events that sealed files hold without a hole, up to the newest that is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// The first event.
    pub(crate) oldest: Seq,
    /// The hash of the record before it.
    pub(crate) prev: RecordHash,
    /// The last event.
    pub(crate) newest: Seq,
    /// The hash of its record.
    pub(crate) hash: RecordHash,
}

/// The last run of `files` without a hole, which may overlap.
pub(super) fn span(files: &[Sealed]) -> Option<Span> {
    let last = files.last()?;
    let mut span = Span {
        oldest: last.first,
        prev: last.prev,
        newest: last.last,
        hash: last.hash,
    };
    for file in files.iter().rev().skip(1) {
        // Files that touch have to agree; where they overlap, reading the later one checks it.
        let touches = file.last.next() == span.oldest && file.hash == span.prev || file.last >= span.oldest;
        if !touches {
            break;
        }
        (span.oldest, span.prev) = (file.first, file.prev);
    }
    Some(span)
}

/// The name of the file that begins with the event `first`.
pub(super) fn file_name(first: Seq) -> String {
    format!("{:020}{SUFFIX}", first.0)
}
