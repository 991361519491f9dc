//! Files that are not as the store left them: a torn tail is cut, damage is refused, neither is ever served.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::SegmentStore;
use super::file::{FILE_HEADER, file_name};
use super::frame::framed_len;
use super::recover::OpenError;
use crate::files::{Dir, in_memory};

const SIZE: u64 = 4096;

/// Three appends of their own, so each is flushed before the next; the last is larger than a disk sector.
fn payloads() -> Vec<Vec<u8>> {
    vec![vec![b'a'; 40], vec![b'b'; 75], vec![b'c'; 900]]
}

fn open(path: &Path) -> Result<SegmentStore, OpenError> {
    SegmentStore::open(Arc::new(Dir::open(path).unwrap()), SIZE, 0)
}

/// A directory with those entries, its one segment file, and that file's bytes.
fn written() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let temp = in_memory();
    let mut store = open(temp.path()).unwrap();
    for (index, payload) in (0..).zip(payloads()) {
        store.append(index, &[Bytes::from(payload)]).unwrap();
    }
    drop(store);
    let path = temp.path().join(file_name(0));
    let bytes = fs::read(&path).unwrap();
    (temp, path, bytes)
}

/// Where each frame ends.
fn ends() -> Vec<usize> {
    let ends = payloads().into_iter().scan(FILE_HEADER, |end, payload| {
        *end += framed_len(payload.len());
        Some(*end)
    });
    ends.collect()
}

fn served(store: &SegmentStore) -> Vec<Vec<u8>> {
    let read = store.reader().read(0..u64::MAX, usize::MAX).unwrap();
    read.into_iter().map(|entry| entry.payload.to_vec()).collect()
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_what_was_whole_is_served() {
    let (temp, path, good) = written();
    let ends = ends();
    for cut in FILE_HEADER..=ends[2] {
        for shorten in [false, true] {
            let mut torn = good.clone();
            torn[cut..].fill(0);
            if shorten {
                torn.truncate(cut);
            }
            fs::write(&path, &torn).unwrap();
            let whole = ends.iter().filter(|end| **end <= cut).count();
            let mut store = open(temp.path()).unwrap_or_else(|error| panic!("torn at {cut}: {error}"));
            assert_eq!(served(&store), payloads()[..whole], "torn at {cut}");
            // And the log goes on from there, also after another restart.
            store
                .append(whole as u64, &[Bytes::from_static(b"next")])
                .unwrap();
            drop(store);
            let again = served(&open(temp.path()).unwrap());
            assert_eq!(
                (again.len(), again[whole].as_slice()),
                (whole + 1, &b"next"[..]),
                "torn at {cut}"
            );
            for entry in fs::read_dir(temp.path()).unwrap() {
                fs::remove_file(entry.unwrap().path()).unwrap();
            }
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_in_what_was_flushed_is_refused() {
    let (temp, path, good) = written();
    let end = *ends().last().unwrap();
    for bit in 0..end * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &bad).unwrap();
        // All three were flushed and may have been acknowledged: none may be cut off.
        let refused = open(temp.path());
        assert!(
            refused.is_err(),
            "bit {bit} of {end} bytes was served or cut: {:?}",
            refused.map(|s| served(&s).len())
        );
        assert_eq!(
            fs::read(&path).unwrap(),
            bad,
            "a refusal changes nothing (bit {bit})"
        );
    }
}

#[test]
fn a_zeroed_sector_before_a_later_write_is_refused() {
    let (temp, path, good) = written();
    let mut bad = good.clone();
    // The second frame is gone, and the third proves that it had been flushed.
    bad[ends()[0]..ends()[1]].fill(0);
    fs::write(&path, &bad).unwrap();
    assert!(matches!(open(temp.path()), Err(OpenError::Damaged { .. })));
}

#[test]
fn a_write_of_which_only_later_sectors_arrived_is_cut() {
    let temp = tempfile::tempdir().unwrap();
    let mut store = open(temp.path()).unwrap();
    store.append(0, &[Bytes::from_static(b"flushed")]).unwrap();
    store
        .append(1, &[Bytes::from(vec![b'x'; 900]), Bytes::from(vec![b'y'; 900])])
        .unwrap();
    drop(store);
    let path = temp.path().join(file_name(0));
    let mut torn = fs::read(&path).unwrap();
    // One write, interrupted: the sector in the middle of its first frame never came.
    torn[512..1024].fill(0);
    fs::write(&path, &torn).unwrap();
    assert_eq!(served(&open(temp.path()).unwrap()), [b"flushed".to_vec()]);
}

#[test]
fn damage_in_a_segment_that_another_follows_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let mut store = open(temp.path()).unwrap();
    for index in 0..6 {
        store
            .append(index, &[Bytes::from(vec![index as u8 + 1; 900])])
            .unwrap();
    }
    drop(store);
    let path = temp.path().join(file_name(0));
    let mut torn = fs::read(&path).unwrap();
    // The tail of a complete segment, as if torn.
    let last = torn.iter().rposition(|byte| *byte != 0).unwrap();
    torn[last - 100..].fill(0);
    fs::write(&path, &torn).unwrap();
    assert!(matches!(open(temp.path()), Err(OpenError::Damaged { .. })));
}

#[test]
fn a_missing_segment_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let mut store = open(temp.path()).unwrap();
    for index in 0..12 {
        store.append(index, &[Bytes::from(vec![1; 900])]).unwrap();
    }
    drop(store);
    let mut segments: Vec<PathBuf> = fs::read_dir(temp.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    segments.retain(|path| path.extension().is_some_and(|suffix| suffix == "seg"));
    segments.sort();
    assert!(segments.len() > 2);
    for missing in &segments[..segments.len() - 1] {
        let kept = fs::read(missing).unwrap();
        fs::remove_file(missing).unwrap();
        assert!(
            matches!(open(temp.path()), Err(OpenError::Gap { .. })),
            "{}",
            missing.display()
        );
        fs::write(missing, kept).unwrap();
    }
    assert_eq!(served(&open(temp.path()).unwrap()).len(), 12);
}

#[test]
fn what_changes_on_the_disk_after_opening_is_not_served() {
    let (temp, path, good) = written();
    let store = open(temp.path()).unwrap();
    let mut bad = good;
    bad[ends()[0] + 40] ^= 1;
    fs::write(&path, &bad).unwrap();
    assert!(store.reader().read(1..2, usize::MAX).is_err());
    assert!(store.reader().read(0..1, usize::MAX).is_ok());
}
