//! What the index's keys and values looked like when they were written once: each one's bytes are kept, read, and
//! compared with what is written now. The directory's own form is sled's.
//!
//! `BLESS=1 cargo nextest run -p chv-eventlog golden` writes them anew. Where that changes lines of before,
//! [`keys::VERSION`] has to be a new one: an index of another version is made again, one of the same is believed.

use std::fmt::Write as _;

use chv_domain::{RecordBody, Resource};

use super::*;

const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/index.txt");

/// CRC-32 of a letter for the kind and the term's bytes; reckoned with another program.
const PRINTS: [u32; 6] = [
    0x1333_2aa1,
    0x4546_4b4a,
    0x9606_c2fe,
    0x93c6_3606,
    0xad5c_8ddd,
    0xf0cc_5f50,
];

/// The records of the domain's golden file, and one so far on that its time has a key.
fn records() -> Vec<(u64, Record)> {
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/../domain/tests/golden/records.bin");
    let records: Vec<Record> = stored::decode(&std::fs::read(kept).unwrap()).unwrap();
    let far = Record::new(RecordBody {
        first: Seq(keys::TIMES_EVERY),
        ..(*records[0]).clone()
    });
    (7..).zip(records.into_iter().chain([far])).collect()
}

fn mark() -> Mark {
    let records = records();
    let (entry, last) = records.last().unwrap();
    Mark {
        entry: *entry,
        seq: last.last(),
        hash: last.hash(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

fn trees(index: &Index) -> [(&'static str, &sled::Tree); 3] {
    let opened = &index.opened;
    [
        ("blocks", &opened.blocks),
        ("times", &opened.times),
        ("marks", &opened.marks),
    ]
}

/// The lines of the golden file for what is in the index: a tree, a key, a value.
fn lines(index: &Index) -> String {
    let mut lines = String::new();
    for (name, tree) in trees(index) {
        for entry in tree {
            let (key, value) = entry.unwrap();
            writeln!(lines, "{name}:{}:{}", hex(&key), hex(&value)).unwrap();
        }
    }
    lines
}

#[test]
fn golden_index_is_written_as_it_was_and_answers_as_what_it_is() {
    let temp = tempfile::tempdir().unwrap();
    let written = Index::open(&temp.path().join("written")).unwrap();
    let records = records();
    let added: Vec<_> = records.iter().map(|(entry, record)| (*entry, record)).collect();
    written.leave_out_before(Seq(1)).unwrap();
    written.add(&added, mark()).unwrap();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(KEPT, lines(&written)).unwrap();
    }
    let kept = std::fs::read_to_string(KEPT).unwrap();
    assert_eq!(
        kept,
        lines(&written),
        "this is written otherwise than before, so it needs a new version; see this file's head"
    );

    // An index that holds just these bytes.
    let index = Index::open(&temp.path().join("kept")).unwrap();
    for line in kept.lines() {
        let [name, key, value] = line.split(':').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let (_, tree) = trees(&index).into_iter().find(|(tree, _)| *tree == name).unwrap();
        tree.insert(unhex(key), unhex(value)).unwrap();
    }
    assert_eq!(index.mark().unwrap(), mark());
    assert_eq!(index.from().unwrap(), Seq(1));
    let end = mark().seq;
    for (entry, record) in &records {
        let mut terms = vec![
            Term::Actor(record.actor.clone()),
            Term::Command(record.cause.command),
        ];
        terms.extend(record.events.iter().map(|event| Term::Resource(event.resource())));
        for term in terms {
            let places = index
                .find(
                    std::slice::from_ref(&term),
                    Order::OldestFirst,
                    (Seq(1), end),
                    usize::MAX,
                )
                .unwrap();
            let found = places
                .spans
                .iter()
                .any(|(from, to)| (*from..=*to).contains(&record.first));
            assert!(found, "{term:?} does not lead to event {}", record.first);
        }
        let at = index.entry_at_or_before(record.first).unwrap();
        assert!(at.is_some_and(|at| at <= *entry), "{at:?} for entry {entry}");
    }
    let far = records.last().unwrap().1.clone();
    let later = Timestamp(far.time.0 + 1);
    assert_eq!(index.before(later).unwrap(), Some(far.first));
    assert_eq!(index.before(far.time).unwrap(), None);
}

#[test]
fn golden_prints_of_terms_stay_what_they_are() {
    let print = |term: Term| term.print().0;
    let host = chv_domain::HostId::from_bytes([3; 16]);
    let vm = chv_domain::VmId::from_bytes([3; 16]);
    let prints = [
        print(Term::Resource(Resource::Vm(vm))),
        print(Term::Resource(Resource::Host(host))),
        print(Term::Resource(Resource::Cluster)),
        print(Term::Actor("alice".parse().unwrap())),
        print(Term::Actor("host/h1".parse().unwrap())),
        print(Term::Command(chv_domain::CommandId::from_bytes([3; 16]))),
    ];
    assert_eq!(prints, PRINTS);
}
