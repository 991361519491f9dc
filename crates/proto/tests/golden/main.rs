//! What replicas and hosts tell each other looked like this once: each message's bytes are kept, read, and compared with
//! what is written now.
//!
//! `BLESS=1 cargo nextest run -p chv-proto golden` writes them anew. Where that changes a line of before, replicas and
//! hosts of before don't understand it: it needs a new version (docs/adr/0029-what-hosts-are-told-has-a-version.md).
//! Until the first release a form may change without one: say so in CHANGELOG.md.

#![allow(clippy::unwrap_used)] // a test binary: a panic is its failure

use std::collections::BTreeMap;

use chv_domain::{DesiredVm, Epoch, HostId, HostSlice, Power, Seq, StopHow, VmId};
use chv_proto::convert::{self, FeedDelta, SlicePage, VERSION};
use chv_proto::v1;
use prost::Message;

const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/hosts.txt");

const HOST: HostId = HostId::from_bytes([7; 16]);

fn desired() -> DesiredVm {
    let spec =
        r#"{"cpu":2,"memory":"64MiB","boot":{"kernel":"k","cmdline":"quiet"},"onHostLoss":"failover"}"#;
    DesiredVm {
        vm: VmId::from_bytes([3; 16]),
        project: "shop".parse().unwrap(),
        name: "web".parse().unwrap(),
        spec: serde_json::from_str(spec).unwrap(),
        power: Power::Stopped(StopHow::Hard),
        epoch: Epoch(Seq(5)),
        revision: Seq(1 << 40),
        changed: Seq(9),
        trace: Some(
            "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
                .parse()
                .unwrap(),
        ),
    }
}

fn page() -> SlicePage {
    let vms = vec![desired()];
    let (host, feed) = (HOST, Seq(9));
    SlicePage {
        slice: HostSlice { host, feed, vms },
        more: true,
    }
}

fn delta() -> FeedDelta {
    FeedDelta {
        host: HOST,
        prev: Some(Seq(8)),
        feed: Seq(9),
        vms: vec![desired()],
        gone: vec![VmId::from_bytes([4; 16])],
    }
}

fn messages() -> BTreeMap<&'static str, Vec<u8>> {
    let host = HOST.to_string();
    let heartbeat = v1::Heartbeat {
        host: host.clone(),
        feed: 9,
        version: VERSION,
    };
    let reply = v1::HeartbeatReply {
        term: 3,
        registered: true,
        feed: 9,
        cluster: host.clone(),
        lease_ms: 15_000,
        version: VERSION,
    };
    let request = v1::SliceRequest {
        host,
        min_feed: 9,
        after: VmId::from_bytes([2; 16]).to_string(),
        version: VERSION,
    };
    BTreeMap::from([
        ("heartbeat", heartbeat.encode_to_vec()),
        ("heartbeat-reply", reply.encode_to_vec()),
        ("slice-request", request.encode_to_vec()),
        ("slice", convert::slice_to_wire(&page()).encode_to_vec()),
        ("feed-delta", convert::encode_delta(&delta())),
    ])
}

fn line((name, bytes): (&&str, &Vec<u8>)) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{name} {hex}\n")
}

fn kept() -> BTreeMap<String, Vec<u8>> {
    let byte = |hex: &[u8]| u8::from_str_radix(std::str::from_utf8(hex).unwrap(), 16).unwrap();
    let text =
        std::fs::read_to_string(KEPT).unwrap_or_else(|error| panic!("{KEPT}: {error}; see this file's head"));
    let lines = text.lines().map(|line| line.split_once(' ').unwrap());
    lines
        .map(|(name, hex)| (name.to_owned(), hex.as_bytes().chunks(2).map(byte).collect()))
        .collect()
}

#[test]
fn golden_messages_of_hosts_are_written_as_they_were_and_read_as_what_they_are() {
    let written: String = messages().iter().map(line).collect();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(KEPT, &written).unwrap();
    }
    let kept = kept();
    let again: String = kept
        .iter()
        .map(|(name, bytes)| line((&name.as_str(), bytes)))
        .collect();
    assert_eq!(
        again, written,
        "written otherwise than before; see this file's head"
    );
    let slice = v1::HostSlice::decode(&kept["slice"][..]).unwrap();
    assert_eq!(convert::slice_from_wire(slice).unwrap(), page());
    let change = v1::FeedDelta::decode(&kept["feed-delta"][..]).unwrap();
    assert_eq!(convert::delta_from_wire(change).unwrap(), delta());
    let reply = v1::HeartbeatReply::decode(&kept["heartbeat-reply"][..]).unwrap();
    assert_eq!((reply.lease_ms, reply.version), (15_000, 1));
}

#[test]
fn given_another_version_then_it_is_refused_with_both_before_anything_else_is_looked_at() {
    for version in [0, VERSION + 1, u32::MAX] {
        let slice = v1::HostSlice {
            version,
            host: "no id".to_owned(),
            ..v1::HostSlice::default()
        };
        let change = v1::FeedDelta {
            version,
            ..v1::FeedDelta::default()
        };
        let refused = format!("version: is {version}, and 1 is known here");
        assert_eq!(convert::slice_from_wire(slice).unwrap_err().to_string(), refused);
        assert_eq!(convert::delta_from_wire(change).unwrap_err().to_string(), refused);
    }
}
