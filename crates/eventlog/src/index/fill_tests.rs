//! An index that is filled downward out of sealed files is what one is that saw every record, for what is kept.

use chv_domain::RecordHash;
use proptest::prelude::*;

use super::fill::fill;
use super::*;
use crate::history::History;
use crate::history::format::samples::{CLUSTER, chain, sealed};

fn mark(records: &[Record]) -> Mark {
    let last = records.last().unwrap();
    Mark {
        entry: u64::try_from(records.len()).unwrap(),
        seq: last.last(),
        hash: last.hash(),
    }
}

/// An index that took `records` from the log, from the entry `at` on.
fn logged(path: &Path, records: &[Record], at: u64, mark: Mark) -> Index {
    let index = Index::open(path).unwrap();
    let records: Vec<_> = (at..).zip(records).collect();
    index.add(&records, mark).unwrap();
    index
}

/// What is found by what from the event `from` on: of each block that begins there, and of each key of times.
fn content(index: &Index, from: Seq) -> (Vec<(Number, Vec<keys::Print>)>, Vec<sled::IVec>) {
    let blocks = index.opened.blocks.iter().map(|stored| {
        let (key, block) = stored.unwrap();
        (
            Number(keys::number(&key).unwrap()),
            Block::decode(&block).unwrap().prints,
        )
    });
    let times = index.opened.times.iter().keys().map(Result::unwrap);
    (
        blocks.filter(|(number, _)| number.first() >= from).collect(),
        times.filter(|key| keys::seq_of(key).unwrap() >= from).collect(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn an_index_is_filled_with_all_that_is_kept_and_with_nothing_else(
        events in proptest::collection::vec(1..60_usize, 30..80),
        purged in 0.0..1.0_f64,
        forgotten in 0.0..1.0_f64,
        files in 1..20_usize,
        all_first in any::<bool>(),
    ) {
        // Given records, of which the log has those from some on, and sealed files all,
        let sizes: Vec<_> = events.iter().map(|events| (*events, 5)).collect();
        let records = chain(Seq(1), RecordHash::ZERO, &sizes);
        let part = |of: usize, part: f64| (of as f64 * part) as usize;
        let purged = part(records.len(), purged);
        let oldest = records[part(purged, forgotten)].first;
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("history")).unwrap();
        let history = History::open(&temp.path().join("history"), CLUSTER).unwrap();
        let whole = logged(&temp.path().join("whole"), &records, 1, mark(&records));
        // an index that took in what the log has, and knows that it leaves out the rest,
        let index = logged(
            &temp.path().join("index"),
            &records[purged..],
            u64::try_from(purged).unwrap() + 1,
            mark(&records),
        );
        index.leave_out_before(records[purged].first).unwrap();
        prop_assert!(!fill(&index, &history, Seq(1)).unwrap(), "there is nothing yet");
        prop_assert_eq!(index.from().unwrap(), records[purged].first);
        for file in records.chunks(files) {
            history.add(&sealed(file)).unwrap();
        }

        // when it is filled, with all before some is forgotten or with the rest only,
        if all_first {
            while fill(&index, &history, Seq(1)).unwrap() {}
            prop_assert_eq!(index.from().unwrap(), Seq(1));
            prop_assert_eq!(content(&index, Seq(1)), content(&whole, Seq(1)));
        }
        while fill(&index, &history, oldest).unwrap() {}

        // then it has that, and no more than the block that what is kept begins in.
        prop_assert_eq!(index.from().unwrap(), oldest);
        prop_assert_eq!(content(&index, oldest), content(&whole, oldest));
        let (blocks, times) = content(&index, Seq::ZERO);
        prop_assert!(blocks.iter().all(|(number, _)| number.last() >= oldest));
        prop_assert_eq!(times, content(&index, oldest).1);
        // Where the log is read for what it has is known.
        for (entry, record) in (1..).zip(&records).skip(purged) {
            let at = index.entry_at_or_before(record.first).unwrap();
            prop_assert!(at.is_some_and(|at| at <= entry), "{at:?} for entry {entry}");
        }
    }
}
