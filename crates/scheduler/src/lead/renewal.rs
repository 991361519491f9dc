//! The leader's answers to heartbeats, each of which renews the host's lease. See docs/adr/0026.
//!
//! A lease is granted only after it was made sure, since the heartbeat came, that this replica leads; for all that wait,
//! at once. Where that fails nobody is answered: hosts ask again.

use std::sync::PoisonError;
use std::time::Instant;

use chv_domain::HostId;
use chv_proto::convert::VERSION;
use chv_proto::{subject, v1};
use futures::StreamExt;
use prost::Message as _;
use tracing::debug;

use super::Office;
use crate::connection::SubscribeError;
use crate::liveness;

/// How many are answered at once.
const AT_ONCE: usize = 1024;

/// Answers for as long as the office lasts.
pub(super) async fn run(office: Office) -> Result<(), SubscribeError> {
    let heartbeats = office
        .reader
        .connection
        .subscribe(subject::HOST_HEARTBEATS)
        .await?;
    let mut heartbeats = heartbeats.ready_chunks(AT_ONCE);
    loop {
        let messages = tokio::select! {
            () = office.stop.cancelled() => return Ok(()),
            messages = heartbeats.next() => match messages {
                Some(messages) => messages,
                None => return Ok(()),
            },
        };
        if let Err(error) = office.reader.log.confirm_leadership().await {
            debug!(%error, "heartbeats are not answered");
            continue;
        }
        for message in &messages {
            answer(&office, message).await;
        }
    }
}

async fn answer(office: &Office, message: &async_nats::Message) {
    let Some((name, beat)) = liveness::decode(message) else {
        return;
    };
    let inbox = message
        .reply
        .as_ref()
        .filter(|inbox| subject::is_inbox_of_host(&name, inbox));
    let (Some(inbox), Ok(id)) = (inbox, beat.host.parse::<HostId>()) else {
        return;
    };
    // A host speaks for itself only: the subject's name must be the id's. Nobody else's lease is renewed, and of hosts
    // that are not registered nothing is kept.
    let registered = match office.reader.log.projection().host(id) {
        Some(host) if host.name != name => return,
        Some(_) => true,
        None => false,
    };
    let lease = match registered && !office.stop.is_cancelled() {
        true => office.leases().grant(id, Instant::now()),
        false => None,
    };
    // Looked at after the grant: it is to hold what the host's VMs were moved by, when they were.
    let state = office.reader.log.projection();
    let known = state.host(id);
    let lease = lease.map_or(0, |lease| lease.get().as_millis());
    let reply = v1::HeartbeatReply {
        term: office.term.0,
        registered: known.is_some(),
        feed: known.map_or(0, |host| host.feed.0),
        cluster: office.reader.log.cluster().to_string(),
        lease_ms: u64::try_from(lease).unwrap_or(0),
        version: VERSION,
    };
    let reply = reply.encode_to_vec();
    office.reader.connection.publish(inbox.clone(), reply).await;
}

impl Office {
    /// What this leader has granted.
    pub(super) fn leases(&self) -> std::sync::MutexGuard<'_, super::leases::Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
