//! The way out: each committed record's changes to the hosts' feeds, then its events to subscribers, in
//! order. A new leader begins where the last one is known to have got; what falls out of the short queue
//! is read from the log.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chv_domain::{Event, Projection, Record, Resource, Seq};
use chv_proto::{convert, subject};
use prost::Message as _;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::Office;
use super::decider::Committed;
use super::feed;

/// How much is read from the log at a time when catching up.
const PAGE: (usize, usize) = (512, 1 << 20);

/// How often the publisher looks whether the broker was lost meanwhile.
const CHECK: Duration = Duration::from_millis(500);

struct Publisher {
    office: Office,
    /// The state at which the feeds stand.
    fed: Projection,
    /// The next event to publish.
    next: Seq,
    /// How often the broker's connection had been made when the last event was handed to it.
    connects: u64,
}

pub(super) async fn run(office: Office, start: Projection, mut committed: mpsc::Receiver<Committed>) {
    let next = start.published().next();
    let connects = office.reader.connection.connects();
    let mut publisher = Publisher {
        office,
        next,
        fed: start,
        connects,
    };
    publisher.catch_up().await;
    let mut timer = tokio::time::interval(CHECK);
    loop {
        tokio::select! {
            () = publisher.office.stop.cancelled() => return,
            batch = committed.recv() => match batch {
                Some(batch) => publisher.batch(batch).await,
                None => return,
            },
            _ = timer.tick() => publisher.again_after_an_outage().await,
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
            let touched = batch.records.iter().flat_map(touched).collect();
            let names = Names {
                before: self.fed.clone(),
                after: batch.state.clone(),
            };
            self.feed(batch.state, &touched).await;
            for record in &batch.records {
                self.record(record, &names).await;
            }
            self.done();
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
        while self.next <= target.seq() && !self.office.stop.is_cancelled() {
            let (records, bytes) = PAGE;
            let page = match self.office.reader.log.read(self.next, records, bytes).await {
                Ok(page) if !page.is_empty() => page,
                Ok(_) => break,
                Err(error) => {
                    warn!(%error, from = %self.next, "can't read events to publish");
                    // What changed for whom is not known, so nobody is told: the next message of each feed
                    // has a gap before it, and its host asks for its slice.
                    self.fed = target;
                    return;
                }
            };
            debug!(from = %self.next, records = page.len(), "publishing from the log");
            for record in &page {
                everything.extend(touched(record));
                self.record(record, &names).await;
            }
            self.done();
        }
        self.feed(target, &everything).await;
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
            // A record that was published in part by an earlier leader is published again from its start
            // only as far as needed: subscribers know events by their seq.
            if seq < self.next {
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

    /// Takes note of how far events were handed to the broker, when it was there all along.
    fn done(&self) {
        let connection = &self.office.reader.connection;
        if connection.is_up() && connection.connects() == self.connects {
            self.office
                .published
                .store(self.next.0.saturating_sub(1), Ordering::Release);
        }
    }

    /// What was handed to the client while the broker was away, or as it went, may never have left: it is
    /// published again. Subscribers know events by their seq.
    async fn again_after_an_outage(&mut self) {
        let connects = self.office.reader.connection.connects();
        if connects != self.connects && self.office.reader.connection.is_up() {
            self.connects = connects;
            self.next = Seq(self.office.published.load(Ordering::Acquire)).next();
            debug!(from = %self.next, "the broker was away: publishing again");
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

fn touched(record: &Record) -> impl Iterator<Item = Resource> + '_ {
    record.events.iter().map(Event::resource)
}
