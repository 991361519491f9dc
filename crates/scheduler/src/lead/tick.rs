//! The leader's word, once a second, that it leads and how far it has published: a follower that has seen
//! less has missed the last messages, which no later one would have told it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use chv_proto::convert::VERSION;
use chv_proto::{subject, v1};
use prost::Message as _;

use super::Office;

const EVERY: Duration = Duration::from_secs(1);

pub(super) async fn run(office: Office) {
    // The first one tells the leader before, which turns commands away, that they are heard here.
    tokio::select! {
        () = office.stop.cancelled() => return,
        () = office.listening.cancelled() => {}
    }
    let mut timer = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            () = office.stop.cancelled() => return,
            _ = timer.tick() => {}
        }
        let tick = v1::Tick {
            replica: office.reader.replica.get(),
            term: office.term.0,
            seq: office.published.load(Ordering::Acquire),
            version: VERSION,
        };
        office
            .reader
            .connection
            .publish(subject::TICK, tick.encode_to_vec())
            .await;
    }
}
