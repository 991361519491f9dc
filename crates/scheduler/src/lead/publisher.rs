//! The way out: each committed record's changes to the hosts' feeds, then its events to subscribers, in
//! order. A new leader begins where the last one is known to have got; what falls out of the short queue
//! is read from the log.
//!
//! An event counts as published when a message that was sent after it came back from the broker: what was
//! only handed to the client is lost when the broker goes away. See docs/adr/0006.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chv_domain::{Event, Projection, Record, Resource, Seq};
use chv_proto::{convert, subject};
use futures::StreamExt;
use prost::Message as _;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::Office;
use super::decider::Committed;
use super::feed;
use crate::connection::SubscribeError;

/// How much is read from the log at a time when catching up.
const PAGE: (usize, usize) = (512, 1 << 20);

/// How often the publisher looks whether anything was left behind, or the broker was lost meanwhile.
const CHECK: Duration = Duration::from_millis(500);

struct Publisher {
    office: Office,
    /// The state at which the feeds stand.
    fed: Projection,
    /// The next event to publish.
    next: Seq,
    /// How often the broker's connection had been made when the last event was handed to it.
    connects: u64,
    /// Where the marks go, and come back from.
    marks: String,
    /// The mark that is on its way: every event up to it was handed to the broker before it.
    mark: Option<Seq>,
}

pub(super) async fn run(
    office: Office,
    start: Projection,
    mut committed: mpsc::Receiver<Committed>,
) -> Result<(), SubscribeError> {
    let marks = office.reader.connection.own_subject("published");
    let mut back = office.reader.connection.subscribe(marks.clone()).await?;
    let connects = office.reader.connection.connects();
    let next = start.published().next();
    let mut publisher = Publisher {
        office,
        next,
        fed: start,
        connects,
        marks,
        mark: None,
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
            _ = timer.tick() => publisher.check().await,
        }
    }
}

impl Publisher {
    async fn batch(&mut self, batch: Committed) {
        if batch
            .records
            .first()
            .is_some_and(|record| record.first == self.next)
        {
            let touched = batch.records.iter().flat_map(feed::touched).collect();
            let names = Names {
                before: self.fed.clone(),
                after: batch.state.clone(),
            };
            self.feed(batch.state, &touched).await;
            for record in &batch.records {
                self.record(record, &names).await;
            }
            self.send_mark().await;
        } else if batch
            .records
            .last()
            .is_some_and(|record| record.last() >= self.next)
        {
            self.catch_up().await;
        }
    }

    /// Publishes from the log all that is applied and not published.
    async fn catch_up(&mut self) {
        let target = self.office.reader.log.projection();
        let names = Names {
            before: self.fed.clone(),
            after: target.clone(),
        };
        let mut everything = BTreeSet::new();
        while self.next <= target.seq() && self.may_publish() {
            let (records, bytes) = PAGE;
            let page = match self.office.reader.log.read(self.next, records, bytes).await {
                Ok(page) if !page.is_empty() => page,
                Ok(_) => break,
                Err(error) => {
                    warn!(%error, from = %self.next, "can't read events to publish");
                    break;
                }
            };
            debug!(from = %self.next, records = page.len(), "publishing from the log");
            // The log goes on meanwhile: what is after the state that the feeds are brought to has its turn.
            for record in page.iter().take_while(|record| record.first <= target.seq()) {
                everything.extend(feed::touched(record));
                self.record(record, &names).await;
            }
            self.send_mark().await;
        }
        if self.next > target.seq() {
            self.feed(target, &everything).await;
        } else {
            // What changed for whom is not known, so nobody is told: the next message of each feed has a gap
            // before it, and its host asks for its slice.
            self.fed = target;
        }
    }

    async fn feed(&mut self, state: Projection, touched: &BTreeSet<Resource>) {
        for delta in feed::deltas(&self.fed, &state, touched) {
            let (to, message) = (subject::feed(&delta.to), convert::delta_to_wire(&delta.changes));
            self.office
                .reader
                .connection
                .publish(to, message.encode_to_vec())
                .await;
        }
        self.fed = state;
    }

    async fn record(&mut self, record: &Record, names: &Names) {
        for (index, (seq, event)) in record.numbered().enumerate() {
            // Of a record that was published in part, only the rest: subscribers know events by their seq.
            if seq < self.next || !self.may_publish() {
                continue;
            }
            self.event(record, index, seq, names.of(event)).await;
            self.next = seq.next();
        }
    }

    async fn event(&self, record: &Record, index: usize, seq: Seq, names: &Projection) {
        let Some(event) = record.events.get(index) else {
            return;
        };
        let message = convert::event_to_wire(record, index, names);
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Msg-Id", seq.to_string());
        headers.insert("Chv-Seq", seq.to_string());
        headers.insert("Chv-Kind", event.kind());
        if !message.traceparent.is_empty() {
            headers.insert("traceparent", message.traceparent.as_str());
        }
        let to = subject::event(event, &message.project, &message.name);
        self.office
            .reader
            .connection
            .publish_with_headers(to, headers, message.encode_to_vec())
            .await;
    }

    /// Whether publishing leads anywhere. What is not published now is published when the broker is back.
    fn may_publish(&self) -> bool {
        self.office.reader.connection.is_up() && !self.office.stop.is_cancelled()
    }

    /// Sends a mark after the last event, unless one is on its way.
    async fn send_mark(&mut self) {
        let last = Seq(self.next.0.saturating_sub(1));
        if self.mark.is_none() && last.0 > self.office.published.load(Ordering::Acquire) {
            self.mark = Some(last);
            let payload = last.0.to_be_bytes().to_vec();
            self.office
                .reader
                .connection
                .publish(self.marks.clone(), payload)
                .await;
        }
    }

    /// A mark came back: the broker has had every event up to it, if the connection was one and the same.
    async fn came_back(&mut self, payload: &[u8]) {
        let Some(mark) = self.mark.filter(|mark| mark.0.to_be_bytes() == payload) else {
            return;
        };
        self.mark = None;
        if self.office.reader.connection.connects() == self.connects {
            self.office.published.store(mark.0, Ordering::Release);
        }
        self.send_mark().await;
    }

    /// After an outage, publishes again what may not have reached the broker. Then what was left behind: by a
    /// full queue, or because it was committed after its sender had given up.
    async fn check(&mut self) {
        let connection = &self.office.reader.connection;
        let connects = connection.connects();
        if connects != self.connects && connection.is_up() {
            self.connects = connects;
            self.mark = None;
            self.next = Seq(self.office.published.load(Ordering::Acquire)).next();
            debug!(from = %self.next, "the broker was away: publishing again");
        }
        if self.next <= self.office.reader.log.projection().seq() {
            self.catch_up().await;
        }
    }
}

/// The states before and after what is published: an event is named by the one that knows what it is about.
struct Names {
    before: Projection,
    after: Projection,
}

impl Names {
    fn of(&self, event: &Event) -> &Projection {
        let known = match event.resource() {
            Resource::Vm(vm) => self.after.vm(vm).is_some(),
            Resource::Host(host) => self.after.host(host).is_some(),
        };
        if known { &self.after } else { &self.before }
    }
}
