//! The trail: all events of a cluster, read page by page.

use std::time::Duration;

use anyhow::{Result, bail};
use chv_proto::client::Client;
use chv_proto::subject::Audience;
use chv_proto::v1::{self, query_envelope::Query, query_reply};

const PATIENCE: Duration = Duration::from_secs(20);

/// Every event there is, or every one about `vm`, as the leader has them.
///
/// # Errors
/// When nobody answers.
pub async fn trail(client: &Client, vm: Option<&v1::VmRef>) -> Result<Vec<v1::EventMessage>> {
    let mut events = Vec::new();
    let mut from_seq = 1;
    loop {
        let query = Query::ListEvents(v1::ListEvents {
            from_seq,
            vm: vm.cloned(),
            ..v1::ListEvents::default()
        });
        let reply = client.query(Audience::Leader, query, None, PATIENCE).await?;
        let Some(query_reply::Result::Events(page)) = reply.result else {
            bail!("that is no page of events: {:?}", reply.result);
        };
        events.extend(page.events);
        if !page.more {
            return Ok(events);
        }
        if page.next_seq <= from_seq {
            bail!("a page from {from_seq} goes on at {}", page.next_seq);
        }
        from_seq = page.next_seq;
    }
}

/// Checks that the events are the first ones, in order, without a hole; returns the last one's number.
///
/// # Errors
/// Names the first hole.
pub fn contiguous(events: &[v1::EventMessage]) -> Result<u64> {
    for (expected, event) in (1..).zip(events) {
        if event.seq != expected {
            bail!("event {expected} is missing: {} is in its place", event.seq);
        }
    }
    Ok(events.len() as u64)
}
