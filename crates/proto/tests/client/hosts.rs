//! What a host's daemon asks: its slice page by page, and whether it is heard.

use chv_domain::{DesiredVm, Epoch, HostId, HostName, HostSlice, Power, Seq, VmId};
use chv_proto::client::QueryError;
use chv_proto::convert::{SlicePage, slice_to_wire};
use chv_proto::subject::{HOST_HEARTBEATS, HOST_SLICES};
use chv_proto::v1;
use prost::Message as _;

use crate::broker::{Broker, PATIENCE};
use crate::leader::Fake;

const ID: HostId = HostId::from_bytes([7; 16]);

fn h1() -> HostName {
    "h1".parse().unwrap()
}

fn desired(number: u8) -> DesiredVm {
    let spec = "{\"cpu\":1,\"memory\":\"1MiB\",\"boot\":{\"kernel\":\"k\"}}";
    DesiredVm {
        vm: VmId::from_bytes([number; 16]),
        project: Default::default(),
        name: format!("vm{number}").parse().unwrap(),
        spec: serde_json::from_str(spec).unwrap(),
        power: Power::Running,
        epoch: Epoch(Seq(1)),
        revision: Seq(1),
        changed: Seq::ZERO,
        trace: None,
    }
}

fn page(feed: u64, vms: &[u8], more: bool) -> Vec<u8> {
    let slice = HostSlice {
        host: ID,
        feed: Seq(feed),
        vms: vms.iter().copied().map(desired).collect(),
    };
    slice_to_wire(&SlicePage { slice, more }).encode_to_vec()
}

#[tokio::test]
async fn given_pages_of_one_position_then_they_are_one_slice_and_a_changed_one_begins_anew() {
    let broker = Broker::start().await;
    let (host, scheduler) = (broker.client("host-h1").await, broker.client("scheduler").await);
    let replicas = Fake::start(&scheduler, HOST_SLICES, |before, message| {
        let answer = match before {
            0 => page(5, &[1, 2], true),
            // It changed between the pages.
            1 => page(6, &[3], false),
            2 => page(6, &[1], true),
            _ => page(6, &[3], false),
        };
        vec![(message.reply.clone().unwrap().to_string(), answer)]
    })
    .await;
    let slice = host.slice(&h1(), ID, Seq(5), PATIENCE).await.unwrap();
    assert_eq!(slice.feed, Seq(6));
    assert_eq!(slice.vms, [desired(1), desired(3)]);
    let asked: Vec<_> = replicas
        .got()
        .iter()
        .map(|message| v1::SliceRequest::decode(message.payload.as_ref()).unwrap())
        .map(|request| (request.min_feed, request.after.parse::<VmId>().ok()))
        .collect();
    let after = |number| Some(VmId::from_bytes([number; 16]));
    assert_eq!(asked, [(5, None), (5, after(2)), (6, None), (6, after(1))]);
}

#[tokio::test]
async fn given_a_host_that_is_not_registered_then_its_slice_is_refused() {
    let broker = Broker::start().await;
    let (host, scheduler) = (broker.client("host-h1").await, broker.client("scheduler").await);
    let _replicas = Fake::start(&scheduler, HOST_SLICES, |_, message| {
        let refused = v1::Refused {
            code: "not_found".to_owned(),
            ..v1::Refused::default()
        };
        let answer = v1::HostSlice {
            refused: Some(refused),
            ..v1::HostSlice::default()
        };
        vec![(message.reply.clone().unwrap().to_string(), answer.encode_to_vec())]
    })
    .await;
    let error = host.slice(&h1(), ID, Seq::ZERO, PATIENCE).await.unwrap_err();
    assert!(
        matches!(&error, QueryError::Refused(refusal) if refusal.code == "not_found"),
        "{error}"
    );
}

#[tokio::test]
async fn given_a_leader_then_a_heartbeat_is_answered_and_an_answer_of_another_version_is_none() {
    let broker = Broker::start().await;
    let (host, scheduler) = (broker.client("host-h1").await, broker.client("scheduler").await);
    let _leader = Fake::start(&scheduler, HOST_HEARTBEATS, |before, message| {
        let answer = v1::HeartbeatReply {
            term: 3,
            registered: true,
            feed: 9,
            cluster: String::new(),
            lease_ms: 0,
            version: u32::try_from(before).unwrap() + 1,
        };
        vec![(message.reply.clone().unwrap().to_string(), answer.encode_to_vec())]
    })
    .await;
    let heartbeat = v1::Heartbeat {
        host: ID.to_string(),
        feed: 9,
        version: 1,
    };
    let reply = host.heartbeat(&h1(), heartbeat.clone(), PATIENCE).await.unwrap();
    assert_eq!((reply.term, reply.registered, reply.feed), (3, true, 9));
    let error = host.heartbeat(&h1(), heartbeat, PATIENCE).await.unwrap_err();
    assert!(
        error.to_string().contains("version: is 2, and 1 is known here"),
        "{error}"
    );
}
