//! What only a host's daemon asks: whether it is heard, and all that it should run. Registering and
//! reporting are commands.

use std::time::Duration;

use async_nats::HeaderMap;
use chv_domain::{HostId, HostName, HostSlice, Seq};
use prost::Message as _;
use tokio::time::Instant;

use super::Client;
use super::ask::{Question, Verdict};
use super::error::{QueryError, Whom};
use super::query::refused_or_later;
use crate::convert::{SlicePage, VERSION, check_version, slice_from_wire};
use crate::subject::{self, HostMessage};
use crate::v1;

impl Client {
    /// Tells the leader that this host lives, and how far it has followed its feed.
    pub async fn heartbeat(
        &self,
        host: &HostName,
        heartbeat: v1::Heartbeat,
        patience: Duration,
    ) -> Result<v1::HeartbeatReply, QueryError> {
        let question = Question {
            subject: subject::host_message(host, HostMessage::Heartbeat),
            headers: HeaderMap::new(),
            payload: heartbeat.encode_to_vec().into(),
            whom: Whom::Leader,
            patience,
            answer_may_take: Duration::ZERO,
            again: true,
        };
        let judge = |message: &async_nats::Message| match v1::HeartbeatReply::decode(message.payload.as_ref())
        {
            Ok(reply) => match check_version(reply.version) {
                Ok(()) => Verdict::Final(Ok(reply)),
                Err(error) => Verdict::Garbled(error.to_string()),
            },
            Err(error) => Verdict::Garbled(error.to_string()),
        };
        self.put(question, judge).await
    }

    /// All that this host should run, at a position of its feed that is `min_feed` or later. Every page
    /// of it is of the same position.
    pub async fn slice(
        &self,
        host: &HostName,
        id: HostId,
        min_feed: Seq,
        patience: Duration,
    ) -> Result<HostSlice, QueryError> {
        let deadline = Instant::now() + patience;
        let mut gathered: Option<HostSlice> = None;
        // A later page is of the newest position seen at least; so a replica behind it waits.
        let mut min_feed = min_feed;
        loop {
            let request = v1::SliceRequest {
                host: id.to_string(),
                min_feed: min_feed.0,
                after: last_of(gathered.as_ref()),
                version: VERSION,
            };
            let left = deadline.saturating_duration_since(Instant::now());
            let page = self.slice_page(host, &request, left).await?;
            min_feed = min_feed.max(page.slice.feed);
            let slice = match gathered.take() {
                None => page.slice,
                Some(first) if first.feed == page.slice.feed => HostSlice {
                    vms: first.vms.into_iter().chain(page.slice.vms).collect(),
                    ..first
                },
                // It changed meanwhile: from the beginning.
                Some(_) => continue,
            };
            if !page.more || slice.vms.is_empty() {
                return Ok(slice);
            }
            gathered = Some(slice);
        }
    }

    async fn slice_page(
        &self,
        host: &HostName,
        request: &v1::SliceRequest,
        patience: Duration,
    ) -> Result<SlicePage, QueryError> {
        let question = Question {
            subject: subject::host_message(host, HostMessage::Slice),
            headers: HeaderMap::new(),
            payload: request.encode_to_vec().into(),
            whom: Whom::Replica,
            patience,
            // A replica that is behind waits for two seconds before it says so.
            answer_may_take: Duration::from_secs(2),
            again: true,
        };
        let judge = |message: &async_nats::Message| {
            let mut slice = match v1::HostSlice::decode(message.payload.as_ref()) {
                Ok(slice) => slice,
                Err(error) => return Verdict::Garbled(error.to_string()),
            };
            match slice.refused.take() {
                Some(refused) => refused_or_later(refused),
                None => match slice_from_wire(slice) {
                    Ok(page) => Verdict::Final(Ok(page)),
                    Err(error) => Verdict::Garbled(error.to_string()),
                },
            }
        };
        self.put(question, judge).await
    }
}

fn last_of(slice: Option<&HostSlice>) -> String {
    let last = slice.and_then(|slice| slice.vms.last());
    last.map(|vm| vm.vm.to_string()).unwrap_or_default()
}
