//! Reading across files, holes, overlaps, damage and removal.

use std::path::Path;

use chv_domain::{ClusterId, Record, RecordHash, Seq};

use super::error::HistoryError;
use super::format::samples::{CLUSTER, chain, sealed};
use super::store::History;

fn firsts(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.first.0).collect()
}

/// Thirty records of one event each, with enough text that ten of them take some blocks.
fn thirty() -> Vec<Record> {
    chain(Seq(1), RecordHash::ZERO, &[(1, 60_000); 30])
}

fn open(dir: &Path) -> History {
    History::open(dir, CLUSTER).unwrap()
}

#[test]
fn records_are_read_across_files_and_found_again_after_reopening() {
    let temp = tempfile::tempdir().unwrap();
    let (history, records) = (open(temp.path()), thirty());
    assert!(history.records(Seq(1), 10, 1 << 20).unwrap().is_empty());
    for file in records.chunks(10) {
        history.add(&sealed(file)).unwrap();
    }
    for history in [history, open(temp.path())] {
        let span = history.span().borrow().unwrap();
        assert_eq!(
            (span.oldest, span.newest, span.hash),
            (Seq(1), Seq(30), records[29].hash())
        );
        assert_eq!(history.records(Seq(1), 100, usize::MAX).unwrap(), records);
        assert_eq!(history.records(Seq(8), 5, usize::MAX).unwrap(), records[7..12]);
        assert_eq!(firsts(&history.records(Seq(30), 5, 1).unwrap()), [30]);
        assert!(history.records(Seq(31), 5, usize::MAX).unwrap().is_empty());
        assert!(history.records(Seq(3), 100, 100_000).unwrap().len() < 5);
    }
}

#[test]
fn a_hole_is_never_read_over_and_overlapping_files_give_each_record_once() {
    let temp = tempfile::tempdir().unwrap();
    let (history, records) = (open(temp.path()), thirty());
    history.add(&sealed(&records[..5])).unwrap();
    history.add(&sealed(&records[12..30])).unwrap();
    assert_eq!(history.span().borrow().unwrap().oldest, Seq(13));
    assert_eq!(history.records(Seq(1), 100, usize::MAX).unwrap(), records[..5]);
    assert!(history.records(Seq(6), 100, usize::MAX).unwrap().is_empty());

    history.add(&sealed(&records[3..20])).unwrap();
    assert_eq!(history.span().borrow().unwrap().oldest, Seq(1));
    assert_eq!(history.records(Seq(1), 100, usize::MAX).unwrap(), records);

    // One that covers others takes their place.
    history.add(&sealed(&records)).unwrap();
    assert_eq!(history.files().len(), 1);
    assert_eq!(
        open(temp.path()).records(Seq(1), 100, usize::MAX).unwrap(),
        records
    );
}

#[test]
fn a_damaged_file_is_set_aside_and_never_served() {
    let temp = tempfile::tempdir().unwrap();
    let (history, records) = (open(temp.path()), thirty());
    for file in records.chunks(10) {
        history.add(&sealed(file)).unwrap();
    }
    let second = history.files()[1].file_name();
    let path = temp.path().join(&second);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[200] ^= 1;
    std::fs::write(&path, &bytes).unwrap();

    let refused = history.records(Seq(11), 100, usize::MAX);
    assert!(
        matches!(refused, Err(HistoryError::Damaged { .. })),
        "{refused:?}"
    );
    assert_eq!(history.span().borrow().unwrap().oldest, Seq(21));
    assert!(history.records(Seq(11), 100, usize::MAX).unwrap().is_empty());
    assert!(!path.exists() && temp.path().join(format!("{second}.damaged")).exists());

    history.add(&sealed(&records[10..20])).unwrap();
    assert_eq!(history.records(Seq(1), 100, usize::MAX).unwrap(), records);
}

#[test]
fn trimming_deletes_whole_files_and_lasts() {
    let temp = tempfile::tempdir().unwrap();
    let (history, records) = (open(temp.path()), thirty());
    for file in records.chunks(10) {
        history.add(&sealed(file)).unwrap();
    }
    assert_eq!(history.trim(Seq(15)).unwrap().len(), 1);
    for history in [history, open(temp.path())] {
        assert_eq!(history.span().borrow().unwrap().oldest, Seq(11));
        assert_eq!(history.records(Seq(11), 100, usize::MAX).unwrap(), records[10..]);
    }
}

#[test]
fn a_file_half_written_is_gone_after_opening_and_one_of_another_cluster_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let records = thirty();
    std::fs::write(temp.path().join("sealing.new"), &sealed(&records)[..500]).unwrap();
    assert!(open(temp.path()).files().is_empty());
    assert!(!temp.path().join("sealing.new").exists());

    open(temp.path()).add(&sealed(&records)).unwrap();
    let other = History::open(temp.path(), ClusterId::from_bytes([1; 16]));
    assert!(matches!(other, Err(HistoryError::OtherCluster { .. })));
}
