//! Tables that are written one after the other, each going on from the one before, read back as they were; and what has not
//! changed is taken over.

use std::os::unix::fs::FileExt;

use proptest::prelude::*;

use super::*;
use crate::files::Haste;

type Names = Table<u32, String>;

/// A table in a file of its own.
struct Kept {
    file: File,
    written: Written<u32, String>,
}

fn kept(table: &Names, last: Option<&Kept>) -> Kept {
    let file = tempfile::tempfile().unwrap();
    let haste = Haste::now();
    let mut to = Output::new(&file, &haste);
    let frames = write(&mut to, table, last.map(|last| &last.written)).unwrap();
    to.finish().unwrap();
    let written = Written::new(table, &file, &frames).unwrap();
    Kept { file, written }
}

fn bytes(kept: &Kept) -> Vec<u8> {
    let mut bytes = vec![0; kept.file.metadata().unwrap().len() as usize];
    kept.file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn read_back(kept: &Kept) -> Names {
    read(&kept.written.frames, &bytes(kept)).unwrap()
}

/// What doesn't compress, so that a few entries fill a frame.
fn value(key: u32, change: u32) -> Arc<String> {
    let text =
        (0..200).map(|at| u64::from(key ^ (change << 16)).wrapping_mul(0x9E37_79B9_7F4A_7C15 ^ (at * 7919)));
    Arc::new(text.map(|number| format!("{number:x}")).collect())
}

fn filled(keys: impl Iterator<Item = u32>) -> Names {
    keys.map(|key| (key, value(key, 0))).collect()
}

fn changes() -> impl Strategy<Value = Vec<Vec<(u32, Option<u32>)>>> {
    let change = (0u32..400, proptest::option::weighted(0.6, 1u32..100));
    proptest::collection::vec(proptest::collection::vec(change, 0..40), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn tables_that_go_on_from_one_another_read_back_as_they_were(begin in 0u32..400, steps in changes()) {
        let mut table = filled(0..begin);
        let mut last = kept(&table, None);
        prop_assert_eq!(&read_back(&last), &table);
        for step in steps {
            for (key, change) in step {
                match change {
                    Some(change) => table.insert(key, value(key, change)),
                    None => table.remove(&key),
                };
            }
            last = kept(&table, Some(&last));
            prop_assert_eq!(&read_back(&last), &table);
            let firsts: Vec<_> = last.written.frames.iter().map(|frame| frame.first).collect();
            prop_assert!(firsts.is_sorted());
            // Small ones are only left where what follows them could be taken over, or nothing follows.
            let small = last.written.frames.windows(2).filter(|two| (two[0].plain as usize) < SMALL);
            prop_assert_eq!(small.count(), 0);
        }
    }
}

#[test]
fn frames_without_a_change_are_taken_over_and_one_that_is_damaged_meanwhile_is_written_anew() {
    // Given a table in several frames,
    let table = filled(0..400);
    let first = kept(&table, None);
    assert!(first.written.frames.len() > 10);
    // when an entry is changed and one is added,
    let mut next = table.clone();
    next.insert(200, value(200, 1));
    next.insert(1000, value(1000, 0));
    let second = kept(&next, Some(&first));
    // then all frames but the two that those are in are the same bytes.
    let crcs = |kept: &Kept| {
        kept.written
            .frames
            .iter()
            .map(|frame| frame.crc)
            .collect::<Vec<_>>()
    };
    let (before, after) = (crcs(&first), crcs(&second));
    let taken_over = after.iter().filter(|crc| before.contains(crc)).count();
    assert!(taken_over >= before.len() - 2, "{taken_over} of {}", before.len());
    assert_eq!(read_back(&second), next);
    // So it is when one that is there already grows, and one comes in between,
    let mut grown = table.clone();
    let longer = Arc::new(value(100, 0).repeat(3));
    grown.insert(100, Arc::clone(&longer));
    grown.remove(&301);
    let third = kept(&grown, Some(&first));
    let after = crcs(&third);
    let taken_over = after.iter().filter(|crc| before.contains(crc)).count();
    assert!(taken_over >= before.len() - 2, "{taken_over} of {}", before.len());
    grown.insert(301, longer);
    let fourth = kept(&grown, Some(&third));
    let taken_over = crcs(&fourth).iter().filter(|crc| after.contains(crc)).count();
    assert!(taken_over >= after.len() - 1, "{taken_over} of {}", after.len());
    assert_eq!(read_back(&fourth), grown);
    // And when a byte of each is flipped on the disk, nothing is taken over, and the state is right.
    for frame in &second.written.frames {
        let at = frame.at + u64::from(frame.length / 2);
        let mut byte = [0];
        second.file.read_exact_at(&mut byte, at).unwrap();
        second.file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
    }
    assert_eq!(read_back(&kept(&next, Some(&second))), next);
}
