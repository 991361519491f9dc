//! What was stored once reads for ever: the events in `events.json`, the records that they make and the state that
//! those fold to, as bytes that an earlier build wrote.
//!
//! `BLESS=1 cargo test -p chv-domain --test golden` writes the bytes anew. Do that for a value that was added to the
//! samples; where it changes the bytes of one that was there, the form has changed, and needs a new version instead.
//! Until the first release a form may change without one: write the bytes anew then too, and say so in CHANGELOG.md.

#![allow(clippy::unwrap_used)] // a test binary: a panic is its failure

use std::path::PathBuf;

use chv_domain::stored;
use chv_domain::*;

fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/golden", name]
        .iter()
        .collect()
}

/// The bytes in the golden file, which have to be those that are written now.
fn golden(name: &str, written: &[u8]) -> Vec<u8> {
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(file(name), written).unwrap();
    }
    let kept =
        std::fs::read(file(name)).unwrap_or_else(|error| panic!("{name}: {error}; see this file's head"));
    assert!(
        kept == written,
        "{name}: this is written otherwise than before, so it needs a new version; see this file's head"
    );
    kept
}

fn events() -> Vec<Event> {
    serde_json::from_str(include_str!("events.json")).unwrap()
}

/// Each event in a record of its own.
fn records() -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    for (at, event) in (1u64..).zip(events()) {
        let actors = ["alice", "host/h1", "replica/1"];
        records.push(Record::new(RecordBody {
            first: Seq(at),
            term: Term(at.div_ceil(10)),
            time: Timestamp(1_700_000_000_000_000 + at),
            actor: actors[at as usize % 3].parse().unwrap(),
            cause: Cause {
                command: CommandId::from_bytes(u128::from(at).to_be_bytes()),
                verb: Verb::ALL[at as usize % Verb::ALL.len()],
                follows: (at % 2 == 0).then_some(Seq(at - 1)),
            },
            trace: (at % 3 == 0).then_some(TraceContext {
                trace_id: [7; 16],
                span_id: [8; 8],
                sampled: true,
            }),
            prev: records.last().map_or(RecordHash::ZERO, Record::hash),
            events: vec![event],
        }));
    }
    records
}

/// A place for each kind: one that is added does not compile before it has one, and then needs a sample.
fn place(event: &Event) -> usize {
    match event {
        Event::HostRegistered { .. } => 0,
        Event::HostFactsChanged { .. } => 1,
        Event::HostCordoned { .. } => 2,
        Event::HostUncordoned { .. } => 3,
        Event::VmCreated { .. } => 4,
        Event::VmPlaced { .. } => 5,
        Event::VmStartRequested { .. } => 6,
        Event::VmStopRequested { .. } => 7,
        Event::VmDeleteRequested { .. } => 8,
        Event::VmStarted { .. } => 9,
        Event::VmReady { .. } => 10,
        Event::VmAdopted { .. } => 11,
        Event::VmExited { .. } => 12,
        Event::VmBlocked { .. } => 13,
        Event::VmUnblocked { .. } => 14,
        Event::VmDeleted { .. } => 15,
        Event::ClusterFormed { .. } => 16,
        Event::ReplicaAdded { .. } => 17,
        Event::ReplicaJoined { .. } => 18,
        Event::ReplicaRemoved { .. } => 19,
        Event::ReplicaLeft { .. } => 20,
        Event::StepDownRequested { .. } => 21,
        Event::RetentionSet { .. } => 22,
        Event::HistoryForgotten { .. } => 23,
        Event::ReplicaIntroduced { .. } => 24,
        Event::FormatRaised { .. } => 25,
        Event::VmPauseRequested { .. } => 26,
        Event::VmResumeRequested { .. } => 27,
        Event::VmRebootRequested { .. } => 28,
        Event::VmPaused { .. } => 29,
        Event::VmResumed { .. } => 30,
        Event::VmRebooted { .. } => 31,
        Event::VmRenamed { .. } => 32,
        Event::VmLabelsChanged { .. } => 33,
        Event::VmAnnotationsChanged { .. } => 34,
        Event::VmProtectionChanged { .. } => 35,
        Event::VmSpecChanged { .. } => 36,
        Event::VmSpecApplied { .. } => 37,
        Event::VmBinned { .. } => 38,
        Event::VmUndeleted { .. } => 39,
    }
}

#[test]
fn every_kind_of_event_is_among_the_samples() {
    let mut places: Vec<usize> = events().iter().map(place).collect();
    places.sort_unstable();
    places.dedup();
    assert_eq!(places, (0..=39).collect::<Vec<_>>());
}

#[test]
fn records_read_as_they_were_written() {
    let records = records();
    let kept = golden("records.bin", &stored::encode(&records).unwrap());
    assert_eq!(stored::decode::<Vec<Record>>(&kept).unwrap(), records);
    // And so is each hash of the chain.
    let hashes: Vec<_> = records.iter().map(|record| record.hash().to_string()).collect();
    golden("hashes.txt", hashes.join("\n").as_bytes());
}

#[test]
fn a_state_reads_as_it_was_written() {
    let mut state = Projection::default();
    for record in records() {
        let batch = Batch {
            published: Seq(3),
            records: vec![record.clone()],
        };
        assert_ne!(state.apply_batch(record.term, &batch), BatchOutcome::Dropped);
    }
    let kept = golden("projection.bin", &stored::encode(&state).unwrap());
    assert_eq!(stored::decode::<Projection>(&kept).unwrap(), state);
}
