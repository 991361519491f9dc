//! Follows what the log wants of this host: heartbeats to the leader, changes as it publishes them, and all of it
//! anew whenever some may have been missed. Does nothing about it itself.
//!
//! Losing NATS or the leader changes nothing here but that nothing new is heard.

pub mod feed;
mod heart;

#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use chv_domain::{HostFacts, HostId, HostName, HostSlice, Seq};
use chv_proto::client::{Client, QueryError};
use chv_proto::convert::delta_from_wire;
use chv_proto::{subject, v1};
use futures::StreamExt;
use prost::Message;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::cluster::Membership;
use crate::converge::Converge;
use crate::leader::Leader;
use crate::lease::Lease;
use crate::ledger::Ledger;
use feed::Feed;
use heart::Heard;

/// Before a slice that could not be had is asked for again: the first time, and at most.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// How long replicas may take to give the slice, before it is looked at again what is missing.
const SLICE_PATIENCE: Duration = Duration::from_secs(5);

/// Follows for one host.
pub struct Follower {
    /// The connection.
    pub client: Client,
    /// What this host knows of its cluster: another one's leader is not followed.
    pub membership: Membership,
    /// The connection that `leader` uses: there while the leader is known to be of this host's cluster.
    pub connection: watch::Sender<Option<Client>>,
    /// The leader, for registering.
    pub leader: Arc<dyn Leader>,
    /// The host's name.
    pub name: HostName,
    /// Its id.
    pub id: HostId,
    /// What it offers.
    pub facts: watch::Receiver<HostFacts>,
    /// Who does something about what is wanted.
    pub converge: Converge,
    /// Where it is noted how far was followed.
    pub ledger: Ledger,
    /// The host's lease, which heartbeats renew.
    pub lease: Arc<Lease>,
}

type Fetch = Pin<Box<dyn Future<Output = Result<HostSlice, QueryError>> + Send>>;

impl Follower {
    /// Follows until `stop`, or until the connection is closed for good.
    pub async fn run(self, stop: CancellationToken) {
        let (position, position_seen) = watch::channel(Seq::ZERO);
        let (heard, replies) = mpsc::channel(4);
        tokio::select! {
            () = stop.cancelled() => {}
            () = heart::beat(&self, position_seen, heard) => {}
            () = self.listen(position, replies) => {}
        }
    }

    async fn listen(&self, position: watch::Sender<Seq>, mut replies: mpsc::Receiver<Heard>) {
        let reached = self.ledger.feed().unwrap_or_else(|error| {
            tracing::warn!(%error, "how far was followed is not known");
            Seq::ZERO
        });
        let mut feed = Feed::new(self.id, reached.max(self.converge.highest_grant()));
        let subject = subject::feed(&self.name);
        let mut news = match self.client.nats().subscribe(subject.clone()).await {
            Ok(news) => news,
            Err(error) => {
                tracing::error!(subject, %error, "the feed can't be followed");
                return;
            }
        };
        let mut fetch: Option<Fetch> = None;
        let mut pause = Duration::ZERO;
        let mut leader_lags = false;
        let mut foreign = false;
        let mut unreadable = false;
        loop {
            if foreign {
                fetch = None;
            } else if fetch.is_none()
                && let Some(least) = feed.missing()
            {
                fetch = Some(self.fetch(least, pause));
            }
            let fetched = async {
                match &mut fetch {
                    Some(fetch) => fetch.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                message = news.next() => {
                    let Some(message) = message else { return };
                    if !foreign {
                        self.heard(&mut feed, &message.payload);
                    }
                }
                reply = replies.recv() => {
                    let leader = match reply {
                        None => return,
                        Some(Heard::Foreign) => {
                            foreign = true;
                            continue;
                        }
                        Some(Heard::At(leader)) => leader,
                    };
                    foreign = false;
                    let lags = !feed.leader_is_at(leader);
                    if lags && !leader_lags {
                        tracing::error!(
                            %leader,
                            "the leader knows less than this host has seen: its log was lost; guests are left as \
                             they are until that is put right"
                        );
                    }
                    leader_lags = lags;
                }
                slice = fetched => {
                    fetch = None;
                    pause = (pause * 2).clamp(ASK_AGAIN.0, ASK_AGAIN.1);
                    match slice {
                        Ok(slice) => {
                            unreadable = false;
                            if let Some(wish) = feed.slice(slice) {
                                pause = Duration::ZERO;
                                self.converge.wish(wish);
                            }
                        }
                        Err(error @ QueryError::Protocol { .. }) => {
                            if !std::mem::replace(&mut unreadable, true) {
                                tracing::error!(
                                    %error,
                                    "what is wanted of this host can't be read here: start a version of chv-hostd that \
                                     reads it; guests are left as they are"
                                );
                            }
                        }
                        Err(error) => tracing::info!(%error, "what is wanted of this host can't be had yet"),
                    }
                }
            }
            self.note(&position, feed.position());
        }
    }

    fn heard(&self, feed: &mut Feed, payload: &[u8]) {
        let decoded = v1::FeedDelta::decode(payload)
            .map_err(|error| error.to_string())
            .and_then(|delta| delta_from_wire(delta).map_err(|error| error.to_string()));
        match decoded {
            Ok(delta) => feed
                .delta(delta)
                .into_iter()
                .for_each(|wish| self.converge.wish(wish)),
            // The next heartbeat shows that something was missed.
            Err(error) => tracing::error!(error, "a change on the feed can't be read"),
        }
    }

    fn fetch(&self, least: Seq, pause: Duration) -> Fetch {
        let (client, name, id) = (self.client.clone(), self.name.clone(), self.id);
        Box::pin(async move {
            tokio::time::sleep(pause).await;
            client.slice(&name, id, least, SLICE_PATIENCE).await
        })
    }

    fn note(&self, position: &watch::Sender<Seq>, reached: Seq) {
        self.lease.followed(reached);
        let moved = position.send_if_modified(|known| std::mem::replace(known, reached) != reached);
        if moved && let Err(error) = self.ledger.set_feed(reached) {
            tracing::warn!(%error, "how far was followed is not noted");
        }
    }
}
