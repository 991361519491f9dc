//! Checkpoints of the present and of history, read back, trimmed and made again.

use chv_domain::{Batch, BatchOutcome, Record, RecordHash};

use super::super::format::samples::{CLUSTER, chain, sealed};
use super::*;

fn all(checkpoints: &mut Checkpoints) {
    while checkpoints.step(&Projection::default()).unwrap() {}
}

/// The fold of all `records`.
fn folded(records: &[Record]) -> Projection {
    let mut state = Projection::default();
    for record in records {
        let records = vec![record.clone()];
        let batch = Batch {
            published: Seq::ZERO,
            records,
        };
        assert_ne!(state.apply_batch(record.term, &batch), BatchOutcome::Dropped);
    }
    state.without_outcomes()
}

#[test]
fn a_checkpoint_is_made_of_the_present_where_it_is_the_next_one_and_of_history_where_more_are_missing() {
    let temp = tempfile::tempdir().unwrap();
    let records = chain(Seq(1), RecordHash::ZERO, &[(1, 100); 60]);
    let history = History::open(temp.path(), CLUSTER).unwrap();
    history.add(&sealed(&records[..20])).unwrap();
    let mut checkpoints = Checkpoints::new(history.clone(), 8, LastWritten::default());
    // Given a present that is far beyond the first one due, they are made of what is sealed,
    let present = |upto: usize| folded(&records[..upto]);
    while checkpoints.step(&present(30)).unwrap() {}
    assert_eq!(seqs(temp.path()).unwrap(), [8, 16, 30].map(Seq));
    // and from then on of the present, sealed or not.
    for now in 31..=50 {
        assert!(!checkpoints.step(&present(now)).unwrap());
    }
    assert_eq!(seqs(temp.path()).unwrap(), [8, 16, 30, 38, 46].map(Seq));
    assert_eq!(at_or_before(&history, Seq(45)).unwrap(), Some(present(38)));
}

#[test]
fn checkpoints_follow_history_also_after_a_restart_and_are_made_again_when_damaged() {
    let temp = tempfile::tempdir().unwrap();
    let records = chain(Seq(1), RecordHash::ZERO, &[(1, 100); 60]);
    let history = History::open(temp.path(), CLUSTER).unwrap();
    let mut checkpoints = Checkpoints::new(history.clone(), 8, LastWritten::default());
    all(&mut checkpoints);
    for file in records.chunks(20) {
        history.add(&sealed(file)).unwrap();
        all(&mut checkpoints);
        checkpoints = Checkpoints::new(history.clone(), 8, LastWritten::default());
    }
    let expected: Vec<Seq> = (1..=7).map(|at| Seq(at * 8)).collect();
    assert_eq!(seqs(temp.path()).unwrap(), expected);
    let at = |seq| at_or_before(&history, Seq(seq)).unwrap();
    assert_eq!(at(7), None);
    assert_eq!(at(30), Some(folded(&records[..24])));

    let damaged = path(temp.path(), Seq(24));
    std::fs::write(&damaged, b"junk").unwrap();
    assert_eq!(at(30), Some(folded(&records[..16])));

    trim(&history, Seq(33)).unwrap();
    assert_eq!(seqs(temp.path()).unwrap(), [32, 40, 48, 56].map(Seq));
    // Between two, as retention needs it.
    checkpoints.make_at(Seq(45)).unwrap();
    trim(&history, Seq(46)).unwrap();
    assert_eq!(seqs(temp.path()).unwrap(), [45, 48, 56].map(Seq));
    assert_eq!(at(47), Some(folded(&records[..45])));
}
