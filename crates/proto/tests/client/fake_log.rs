//! A log that answers `event.list` and publishes what a test tells it to.

use std::sync::{Arc, Mutex};

use async_nats::Message;
use chv_domain::{
    Cause, CommandId, Event, Projection, Record, RecordBody, RecordHash, Seq, Term, Timestamp, Verb, VmId,
};
use chv_proto::client::Client;
use chv_proto::subject::{self, Audience};
use chv_proto::v1::{self, query_envelope::Query, query_reply};
use chv_proto::{convert, subject::TICK};
use prost::Message as _;

use crate::leader::Fake;

/// How many events a page has at most.
const PAGE: usize = 100;

pub(crate) struct FakeLog {
    scheduler: Client,
    state: Arc<Mutex<State>>,
    queries: Fake,
}

#[derive(Default)]
struct State {
    /// How many events there are: 1 and on.
    events: u64,
    /// One that the answers leave out.
    hole: Option<u64>,
    /// How many events before the first one asked for are in the answers, too.
    overlap: u64,
    /// How many of the next queries are refused, as by a replica that is behind.
    behind: usize,
}

/// The VM that the event is about: two take turns.
pub(crate) fn vm_of(seq: u64) -> VmId {
    VmId::from_bytes([(seq % 2) as u8; 16])
}

/// The event with this number; every third is bob's, the others are alice's.
pub(crate) fn event(seq: u64) -> v1::EventMessage {
    let record = Record::new(RecordBody {
        first: Seq(seq),
        term: Term(1),
        time: Timestamp(seq),
        actor: if seq.is_multiple_of(3) { "bob" } else { "alice" }
            .parse()
            .unwrap(),
        cause: Cause {
            command: CommandId::from_bytes([seq as u8; 16]),
            verb: Verb::VmStart,
            follows: None,
        },
        trace: None,
        prev: RecordHash::ZERO,
        events: vec![Event::VmStartRequested { vm: vm_of(seq) }],
    });
    convert::event_to_wire(&record, 0, &Projection::default())
}

impl FakeLog {
    /// A log with this many events.
    pub(crate) async fn start(scheduler: &Client, events: u64) -> Self {
        let state = Arc::new(Mutex::new(State {
            events,
            ..State::default()
        }));
        let answering = Arc::clone(&state);
        let queries = Fake::start(scheduler, subject::queries(Audience::Any), move |_, message| {
            answering.lock().unwrap().answer(message)
        })
        .await;
        Self {
            scheduler: scheduler.clone(),
            state,
            queries,
        }
    }

    /// How often it was read from.
    pub(crate) fn reads(&self) -> usize {
        self.queries.got().len()
    }

    /// The first events that were asked for, query by query.
    pub(crate) fn asked_from(&self) -> Vec<u64> {
        let from =
            |message: &Message| match v1::QueryEnvelope::decode(message.payload.as_ref()).unwrap().query {
                Some(Query::ListEvents(list)) => list.from_seq,
                other => panic!("{other:?}"),
            };
        self.queries.got().iter().map(from).collect()
    }

    /// Commits events up to this one, without a word to anybody.
    pub(crate) fn commit(&self, last: u64) {
        self.state.lock().unwrap().events = last;
    }

    pub(crate) fn leave_out(&self, seq: u64) {
        self.state.lock().unwrap().hole = Some(seq);
    }

    pub(crate) fn overlap_by(&self, count: u64) {
        self.state.lock().unwrap().overlap = count;
    }

    pub(crate) fn be_behind(&self, times: usize) {
        self.state.lock().unwrap().behind = times;
    }

    /// Publishes the event with this number, as far as a live subscriber is concerned.
    pub(crate) async fn publish(&self, seq: u64) {
        let message = event(seq);
        let entry = convert::event_from_wire(message.clone()).unwrap();
        let to = subject::event(&entry.event, "default", "");
        let nats = self.scheduler.nats();
        nats.publish(to, message.encode_to_vec().into()).await.unwrap();
    }

    /// Commits and publishes up to this one.
    pub(crate) async fn go_on_to(&self, last: u64) {
        let first = self.state.lock().unwrap().events + 1;
        self.commit(last);
        for seq in first..=last {
            self.publish(seq).await;
        }
    }

    /// The leader's word that it has published up to this one.
    pub(crate) async fn tick(&self, last: u64) {
        let tick = v1::Tick {
            replica: 1,
            term: 1,
            seq: last,
            version: 1,
        };
        let nats = self.scheduler.nats();
        nats.publish(TICK, tick.encode_to_vec().into()).await.unwrap();
    }
}

impl State {
    fn answer(&mut self, message: &Message) -> Vec<(String, Vec<u8>)> {
        let envelope = v1::QueryEnvelope::decode(message.payload.as_ref()).unwrap();
        let Some(Query::ListEvents(list)) = envelope.query else {
            panic!("another query")
        };
        let result = if self.behind > 0 || envelope.min_seq > self.events {
            self.behind = self.behind.saturating_sub(1);
            query_reply::Result::Refused(v1::Refused {
                code: "behind".to_owned(),
                retryable: true,
                retry_after_ms: 10,
                ..v1::Refused::default()
            })
        } else {
            query_reply::Result::Events(self.page(&list))
        };
        let reply = v1::QueryReply {
            version: 1,
            replica: 1,
            applied_seq: self.events,
            as_leader: false,
            result: Some(result),
            ..v1::QueryReply::default()
        };
        vec![(message.reply.clone().unwrap().to_string(), reply.encode_to_vec())]
    }

    fn page(&self, list: &v1::ListEvents) -> v1::EventPage {
        let from = list.from_seq.saturating_sub(self.overlap).max(1);
        let only = list.vm.clone().map(|vm| match vm.vm {
            Some(v1::vm_ref::Vm::Id(id)) => id.parse::<VmId>().unwrap(),
            other => panic!("{other:?}"),
        });
        let wanted = |seq: &u64| only.is_none_or(|vm| vm == vm_of(*seq)) && self.hole != Some(*seq);
        let found: Vec<u64> = (from..=self.events).filter(wanted).take(PAGE).collect();
        let full = found.len() == PAGE;
        let next = match found.last() {
            Some(last) if full => last + 1,
            _ => from.max(self.events + 1),
        };
        v1::EventPage {
            events: found.into_iter().map(event).collect(),
            next_seq: next,
            more: full && next <= self.events,
            oldest_seq: 1,
            last_seq: self.events,
        }
    }
}
