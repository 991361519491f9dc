//! Chains of records for tests.

use chv_domain::{
    Cause, ClusterId, CommandId, Epoch, Event, Record, RecordBody, RecordHash, Seq, Term, Timestamp, Verb,
    VmId,
};

use super::{Builder, Header};

pub(crate) const CLUSTER: ClusterId = ClusterId::from_bytes([9; 16]);

/// Records that follow `first` and `prev`; each number is how many events one has, and how long its text is.
pub(crate) fn chain(mut first: Seq, mut prev: RecordHash, sizes: &[(usize, usize)]) -> Vec<Record> {
    let mut records = Vec::new();
    for (events, text) in sizes {
        let record = Record::new(RecordBody {
            first,
            term: Term(1),
            time: Timestamp(first.0 * 1000),
            actor: "tester".parse().unwrap(),
            cause: Cause {
                command: CommandId::from_bytes(u128::from(first.0).to_be_bytes()),
                verb: Verb::HostCordon,
                follows: None,
            },
            trace: None,
            prev,
            events: vec![
                Event::VmBlocked {
                    vm: VmId::from_bytes(u128::from(first.0).to_be_bytes()),
                    epoch: Epoch(Seq(1)),
                    reason: "x".repeat(*text),
                };
                *events
            ],
        });
        (first, prev) = (record.last().next(), record.hash());
        records.push(record);
    }
    records
}

/// The sealed file of `records`.
pub(crate) fn sealed(records: &[Record]) -> Vec<u8> {
    let first = records.first().unwrap();
    let mut builder = Builder::new(Header {
        cluster: CLUSTER,
        first: first.first,
        prev: first.prev,
    });
    for record in records {
        builder.push(record).unwrap();
    }
    builder.finish().unwrap()
}
