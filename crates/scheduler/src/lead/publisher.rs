//! The way out: hands to the broker what [`Publication`] says, and reads from the log what fell out of the short
//! queue. What is to be sent, and when it counts as published, is not decided here.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use chv_domain::{Projection, Seq};
use chv_proto::{convert, subject};
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::Office;
use super::decider::Committed;
use super::publication::{Link, Mark, Outgoing, Publication, Published};
use crate::connection::{Handed, SubscribeError};

/// By this a stream that takes events in knows one that it has already: JetStream's own header.
const MESSAGE_ID: HeaderName = HeaderName::from_static("Nats-Msg-Id");

/// W3C trace context.
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");

/// How much is read from the log at a time when catching up.
const PAGE: (usize, usize) = (512, 1 << 20);

/// How long a mark is held back: one then speaks of the events of many entries, and commands that come one at a time don't
/// each wait for a broker that passes marks around. So much may be published twice after a failover.
const MARK_AFTER: Duration = Duration::from_millis(20);

/// How often the publisher looks whether anything was left behind, or the broker was lost meanwhile.
const CHECK: Duration = Duration::from_millis(500);

struct Publisher {
    office: Office,
    publication: Publication,
    /// Where the marks go, and come back from.
    marks: String,
    /// The mark that is held back, and until when.
    held: Option<(Mark, Instant)>,
}

pub(super) async fn run(
    office: Office,
    start: Projection,
    mut committed: mpsc::Receiver<Committed>,
) -> Result<(), SubscribeError> {
    let marks = office.reader.connection.own_subject("published");
    let mut back = office.reader.connection.subscribe(marks.clone()).await?;
    let publication = Publication::new(start, link(&office));
    let mut publisher = Publisher {
        office,
        publication,
        marks,
        held: None,
    };
    publisher.catch_up().await;
    let mut timer = tokio::time::interval(CHECK);
    loop {
        tokio::select! {
            () = publisher.office.stop.cancelled() => return Ok(()),
            batch = committed.recv() => match batch {
                Some(batch) => publisher.batch(batch).await,
                None => return Ok(()),
            },
            mark = back.next() => match mark {
                Some(mark) => publisher.came_back(&mark.payload).await,
                None => return Ok(()),
            },
            () = until(publisher.held), if publisher.held.is_some() => publisher.mark().await,
            _ = timer.tick() => publisher.check().await,
        }
    }
}

async fn until(held: Option<(Mark, Instant)>) {
    if let Some((_, due)) = held {
        tokio::time::sleep_until(due).await;
    }
}

fn link(office: &Office) -> Link {
    Link {
        up: office.reader.connection.is_up() && !office.stop.is_cancelled(),
        connects: office.reader.connection.connects(),
    }
}

impl Publisher {
    fn link(&self) -> Link {
        link(&self.office)
    }

    async fn batch(&mut self, batch: Committed) {
        if self.publication.continues_with(&batch.records) {
            let out = self.publication.batch(&batch.records, batch.state, self.link());
            self.send(out).await;
        } else if self.publication.is_behind(batch.state.seq()) {
            self.catch_up().await;
        }
    }

    /// Publishes from the log all that is applied and not published.
    async fn catch_up(&mut self) {
        let mut up = self.publication.catch_up(self.office.reader.log.projection());
        while let Some(from) = self.publication.read_from(&up, self.link()) {
            let (records, bytes) = PAGE;
            let page = match self.office.reader.log.read(from, records, bytes).await {
                Ok(page) if !page.is_empty() => page,
                Ok(_) => break,
                Err(error) => {
                    warn!(%error, %from, "can't read events to publish");
                    break;
                }
            };
            debug!(%from, records = page.len(), "publishing from the log");
            let out = self.publication.page(&mut up, &page, self.link());
            if self.send(out).await == Handed::NoRoom {
                break;
            }
        }
        let out = self.publication.caught_up(up, self.link());
        self.send(out).await;
    }

    /// A mark came back: the broker has had every event up to it, if the connection was one and the same.
    async fn came_back(&mut self, payload: &[u8]) {
        let (seq, serial) = payload.split_at_checked(8).unwrap_or_default();
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes);
        let (Ok(seq), Ok(serial)) = (number(seq), number(serial)) else {
            return;
        };
        let mark = Mark {
            seq: Seq(seq),
            serial,
        };
        let out = self.publication.came_back(mark, self.link());
        let published = self.publication.published();
        self.office.published.store(published.0, Ordering::Release);
        self.send(out).await;
    }

    /// After an outage, publishes again what may not have reached the broker. Then what was left behind: by a
    /// full queue, or because it was committed after its sender had given up, or because the client had no room.
    async fn check(&mut self) {
        if self.publication.check(self.link()) {
            // It would speak of events that are yet to be sent again.
            self.held = None;
            let published = self.publication.published();
            debug!(after = %published, "the broker was away: publishing again");
        }
        if let Some(mark) = self.publication.overdue(self.link()) {
            debug!("a mark did not come back: sending it again");
            self.send(vec![mark]).await;
        }
        if self
            .publication
            .is_behind(self.office.reader.log.projection().seq())
        {
            self.catch_up().await;
        }
    }

    /// Hands messages to the broker, up to the first that it takes no room for. What is left of a term that is over
    /// is not: another leader publishes it.
    async fn send(&mut self, out: Vec<Outgoing>) -> Handed {
        for (at, message) in out.iter().enumerate() {
            if self.office.stop.is_cancelled() {
                break;
            }
            let handed = match message {
                Outgoing::Feed(delta) => {
                    let message = convert::encode_delta(&delta.changes);
                    self.publish(subject::feed(&delta.to), message.into()).await
                }
                Outgoing::Event(published) => self.event(published).await,
                Outgoing::Mark(mark) => {
                    self.held = Some((*mark, Instant::now() + MARK_AFTER));
                    Handed::Over
                }
            };
            if handed == Handed::NoRoom {
                self.held = None;
                self.publication.not_taken(&out[at..]);
                return handed;
            }
        }
        Handed::Over
    }

    /// Sends the mark that was held back: after the events that it speaks of, which the client has had since.
    async fn mark(&mut self) {
        let Some((mark, _)) = self.held.take() else { return };
        let message = [mark.seq.0.to_be_bytes(), mark.serial.to_be_bytes()].concat();
        // One that is not taken is overdue after a while, like one that is lost.
        self.publish(self.marks.clone(), message.into()).await;
    }

    async fn publish(&self, to: String, message: Bytes) -> Handed {
        self.office.reader.connection.publish(to, message).await
    }

    async fn event(&self, Published { event, trace }: &Published) -> Handed {
        let mut headers = HeaderMap::new();
        headers.insert(MESSAGE_ID, HeaderValue::from(event.seq.0));
        if let Some(trace) = trace {
            headers.insert(TRACE_PARENT, trace.to_string());
        }
        self.office
            .reader
            .connection
            .publish_with_headers(event.subject.clone(), headers, event.message.clone())
            .await
    }
}
