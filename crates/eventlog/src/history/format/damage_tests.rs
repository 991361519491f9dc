//! What was written reads back, and any change of it is refused with its place.

use chv_domain::{Record, RecordBody, RecordHash, Seq};
use proptest::prelude::*;

use super::samples::{CLUSTER, chain, sealed};
use super::{Builder, FormatError, Header, Layout, verify};

fn sizes() -> impl Strategy<Value = Vec<(usize, usize)>> {
    // Up to some blocks; a text of more than a block makes one of its own.
    let text = prop_oneof![9 => 0..2000_usize, 1 => 200_000..300_000_usize];
    prop::collection::vec((1..4_usize, text), 1..40)
}

fn read_all(bytes: &[u8]) -> Result<(Layout, Vec<Record>), FormatError> {
    let mut records = Vec::new();
    let layout = verify(bytes, |block| records.extend(block))?;
    Ok((layout, records))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn what_was_sealed_reads_back(sizes in sizes(), first in 1..1_000_000_u64, prev: [u8; 32]) {
        let records = chain(Seq(first), RecordHash(prev), &sizes);
        let bytes = sealed(&records);

        let (layout, read) = read_all(&bytes).unwrap();
        prop_assert_eq!(&read, &records);
        prop_assert_eq!(layout.header, Header { cluster: CLUSTER, first: Seq(first), prev: RecordHash(prev) });
        let last = records.last().unwrap();
        prop_assert_eq!((layout.footer.last, layout.footer.hash), (last.last(), last.hash()));
        prop_assert_eq!(layout.footer.records(), records.len() as u64);

        // Each event is in the block that the index tells.
        for record in &records {
            let block = layout.footer.block_of(record.last()).unwrap();
            prop_assert!(layout.records(&bytes[..], block).unwrap().contains(record));
        }
        prop_assert_eq!(layout.footer.block_of(last.last().next()), None);
        prop_assert_eq!(layout.footer.block_of(Seq(first - 1)), None);
    }

    #[test]
    fn a_flipped_bit_in_a_large_file_is_refused(sizes in sizes(), at: prop::sample::Index, bit in 0..8_u8) {
        let mut bytes = sealed(&chain(Seq(1), RecordHash::ZERO, &sizes));
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(read_all(&bytes).is_err());
    }

    #[test]
    fn junk_is_refused_without_a_panic(bytes: Vec<u8>) {
        prop_assert!(read_all(&bytes).is_err());
    }
}

#[test]
fn every_flipped_byte_is_refused_with_the_part_that_it_is_in() {
    let bytes = sealed(&chain(Seq(5), RecordHash([3; 32]), &[(1, 10), (3, 400), (1, 0)]));
    let layout = Layout::read(&bytes[..]).unwrap();
    let block = layout.footer.blocks[0];
    let (footer, trailer) = (block.at + u64::from(block.len), bytes.len() as u64 - 56);
    for at in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x5a;
        let place = match read_all(&bytes) {
            Err(FormatError::Damaged { at, .. }) => at,
            // The stored frame of the footer has a version of its own, which is told as damage too.
            other => panic!("byte {at}: {other:?}"),
        };
        let part = match at as u64 {
            at if at < block.at => 0,
            at if at < footer => block.at,
            at if at < trailer => footer,
            _ => trailer,
        };
        assert_eq!(place, part, "byte {at}");
    }
}

#[test]
fn every_cut_and_every_appended_byte_is_refused() {
    let mut bytes = sealed(&chain(Seq(1), RecordHash::ZERO, &[(1, 10), (2, 20)]));
    for len in 0..bytes.len() {
        assert!(read_all(&bytes[..len]).is_err(), "cut at {len}");
    }
    bytes.push(0);
    assert!(read_all(&bytes).is_err());
}

#[test]
fn another_version_is_told_as_that() {
    let mut bytes = sealed(&chain(Seq(1), RecordHash::ZERO, &[(1, 10)]));
    bytes[8] = 2;
    let crc = crc32fast::hash(&bytes[..76]);
    bytes[76..80].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(read_all(&bytes).unwrap_err(), FormatError::Version(2));
}

#[test]
fn a_record_that_does_not_follow_is_not_taken() {
    let records = chain(Seq(1), RecordHash::ZERO, &[(1, 10), (1, 10), (1, 10)]);
    let mut builder = Builder::new(Header {
        cluster: CLUSTER,
        first: Seq(1),
        prev: RecordHash::ZERO,
    });
    assert!(builder.push(&records[1]).is_err());
    builder.push(&records[0]).unwrap();
    assert!(builder.push(&records[0]).is_err());
    let changed = Record::new(RecordBody {
        prev: RecordHash([1; 32]),
        ..(*records[1]).clone()
    });
    assert!(builder.push(&changed).is_err());
    builder.push(&records[1]).unwrap();
    assert_eq!(builder.end(), (Seq(2), records[1].hash()));
}
