//! The chain of records, followed as applying follows it, and stricter: a batch that does not continue it may only
//! be there if the chain goes on without it.

use chv_domain::{Batch, Record, RecordHash, Seq, Term};

use super::finding::{Finding, FindingKind};

/// Where the chain stands.
#[derive(Debug, Default)]
pub(super) struct Chain {
    /// The last record's event and hash; `None` before the first record of a log that was purged.
    at: Option<(Seq, RecordHash)>,
    /// A batch of its own entry's term that did not continue the chain.
    passed_over: Option<Finding>,
    /// The hash that a record has to carry that continues that batch.
    after_passed_over: Option<RecordHash>,
    records: u64,
    dropped: u64,
}

impl Chain {
    /// From the beginning of all records.
    pub(super) fn from_the_first() -> Self {
        Self {
            at: Some((Seq::ZERO, RecordHash::default())),
            ..Self::default()
        }
    }

    /// From wherever the first record stands.
    pub(super) fn from_anywhere() -> Self {
        Self::default()
    }

    /// The last event and the hash of its record.
    pub(super) fn at(&self) -> Option<(Seq, RecordHash)> {
        self.at
    }

    /// How many records continued it, and how many batches were dropped.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.records, self.dropped)
    }

    /// Takes the batch of an entry of `term` in. `place` says where that entry is.
    pub(super) fn take_in(
        &mut self,
        term: Term,
        batch: &Batch,
        place: impl FnOnce(String) -> Finding,
    ) -> Result<(), Finding> {
        if batch.records.is_empty() {
            return Ok(());
        }
        if batch.records.iter().any(|record| record.term != term) {
            // Decided by a leader of another term: every replica drops it.
            self.dropped += 1;
            return Ok(());
        }
        let (mut at, mut broken) = (self.at, None);
        for record in &batch.records {
            if let Err(what) = continues(at, record) {
                broken = Some(what);
                break;
            }
            at = Some((record.last(), record.hash()));
        }
        let prev = batch.records.first().map(|record| record.prev);
        if self.passed_over.is_some() && self.after_passed_over == prev {
            return self.end();
        }
        match broken {
            Some(what) => {
                self.dropped += 1;
                let seq = self.at.map(|(seq, _)| seq.next());
                self.after_passed_over = batch.records.last().map(Record::hash);
                self.passed_over.get_or_insert(place(what).before(seq));
            }
            None => {
                self.at = at;
                self.passed_over = None;
                self.records += batch.records.len() as u64;
            }
        }
        Ok(())
    }

    /// Says whether it ended well.
    pub(super) fn end(&mut self) -> Result<(), Finding> {
        self.passed_over.take().map_or(Ok(()), Err)
    }
}

fn continues(at: Option<(Seq, RecordHash)>, record: &Record) -> Result<(), String> {
    if record.events.is_empty() {
        return Err("a record without an event".to_owned());
    }
    let Some((seq, hash)) = at else { return Ok(()) };
    if record.first != seq.next() {
        return Err(format!(
            "a record begins with event {} after event {seq}",
            record.first
        ));
    }
    if record.prev != hash {
        return Err(format!(
            "the record of event {} carries another hash than the record before it has: one of them was changed",
            record.first
        ));
    }
    Ok(())
}

/// A contradiction at a place.
pub(super) fn contradiction(
    file: &std::path::Path,
    offset: u64,
    entry: u64,
) -> impl FnOnce(String) -> Finding {
    move |what| Finding::new(FindingKind::Contradiction, file, what).at(offset, entry)
}
