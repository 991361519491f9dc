//! Given any run of appends, truncations, purges and reopenings, the store holds what a vector would.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::SegmentStore;
use crate::files::Dir;

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<Vec<u8>>),
    /// Removes everything from so far before the end.
    Truncate(u64),
    /// Forgets everything up to so far after the beginning.
    Purge(u64),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let payload = prop::collection::vec(any::<u8>(), 0..150);
    prop_oneof![
        5 => prop::collection::vec(payload, 1..6).prop_map(Step::Append),
        2 => (0u64..8).prop_map(Step::Truncate),
        1 => (0u64..8).prop_map(Step::Purge),
        2 => Just(Step::Reopen),
    ]
}

/// What the store should hold: the first index that is not purged, and the entries.
#[derive(Default)]
struct Model {
    first: u64,
    entries: BTreeMap<u64, Vec<u8>>,
}

impl Model {
    fn next(&self) -> u64 {
        self.entries
            .last_key_value()
            .map_or(self.first, |(last, _)| last + 1)
    }

    fn bounds(&self) -> Range<u64> {
        self.first..self.next()
    }
}

fn open(path: &Path, first: u64) -> SegmentStore {
    // Small, so that a few entries fill a segment, and one large append overfills it.
    SegmentStore::open(Arc::new(Dir::open(path).unwrap()), 512, first).unwrap()
}

fn check(store: &SegmentStore, model: &Model) {
    let reader = store.reader();
    assert_eq!(reader.bounds(), model.bounds());
    let read = reader.read(0..u64::MAX, usize::MAX).unwrap();
    let read: BTreeMap<u64, Vec<u8>> = read
        .into_iter()
        .map(|entry| (entry.index, entry.payload.to_vec()))
        .collect();
    assert_eq!(read, model.entries);
    for index in model.bounds() {
        let one = reader.read(index..index + 1, 0).unwrap();
        assert_eq!(one.len(), 1, "entry {index} alone, whatever the limit");
        assert_eq!(one[0].payload, model.entries[&index]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_holds_what_a_vector_would(steps in prop::collection::vec(step(), 1..24)) {
        let temp = tempfile::tempdir().unwrap();
        let mut store = open(temp.path(), 0);
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Append(payloads) => {
                    let first = model.next();
                    model.entries.extend((first..).zip(payloads.clone()));
                    let payloads: Vec<Bytes> = payloads.into_iter().map(Bytes::from).collect();
                    store.append(first, &payloads).unwrap();
                }
                Step::Truncate(back) => {
                    let since = model.next().saturating_sub(back).max(model.first);
                    store.truncate(since).unwrap();
                    model.entries.split_off(&since);
                }
                Step::Purge(ahead) => {
                    let upto = model.first + ahead;
                    store.purge(upto).unwrap();
                    model.entries = model.entries.split_off(&(upto + 1));
                    model.first = upto + 1;
                }
                Step::Reopen => {
                    drop(store);
                    store = open(temp.path(), model.first);
                }
            }
            check(&store, &model);
        }
        drop(store);
        check(&open(temp.path(), model.first), &model);
    }
}

#[test]
fn an_append_that_does_not_follow_is_refused_and_changes_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let mut store = open(temp.path(), 0);
    store.append(0, &[Bytes::from_static(b"first")]).unwrap();
    for wrong in [0, 2, 9] {
        assert!(store.append(wrong, &[Bytes::from_static(b"wrong")]).is_err());
    }
    assert_eq!(store.reader().bounds(), 0..1);
}

#[test]
fn what_is_refused_half_way_is_done_when_it_is_done_again() {
    type Work = fn(&mut SegmentStore) -> std::io::Result<()>;
    let truncate: (Work, Range<u64>) = (|store| store.truncate(3), 0..3);
    let purge: (Work, Range<u64>) = (|store| store.purge(8), 9..12);
    for (work, left) in [truncate, purge] {
        // Given twelve entries, two in a segment, and a segment in the middle whose file can't be removed,
        let temp = tempfile::tempdir().unwrap();
        let mut store = open(temp.path(), 0);
        let mut model = Model::default();
        for index in 0..12 {
            store
                .append(index, &[Bytes::from(vec![index as u8; 200])])
                .unwrap();
            model.entries.insert(index, vec![index as u8; 200]);
        }
        let held = temp.path().join(super::file::file_name(6));
        let aside = temp.path().join("aside");
        std::fs::rename(&held, &aside).unwrap();
        std::fs::create_dir(&held).unwrap();

        // when what removes it fails, and is done again once it can be removed,
        assert!(work(&mut store).is_err());
        std::fs::remove_dir(&held).unwrap();
        std::fs::rename(&aside, &held).unwrap();
        work(&mut store).unwrap();

        // then it is done, also for one who opens it again.
        model.first = left.start;
        model.entries.retain(|index, _| left.contains(index));
        check(&store, &model);
        assert!(!held.exists());
        drop(store);
        check(&open(temp.path(), model.first), &model);
    }
}
