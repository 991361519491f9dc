//! What is published, and when it counts as published: each committed record's changes to the hosts' feeds,
//! its events to subscribers in order, and the marks that tell that the broker had them. Pure: it sends
//! nothing, reads no log and knows no clock; `publisher` does.
//!
//! An event counts as published when a mark that was sent after it came back from the broker over the same
//! connection. A mark that stays away is sent again, and so is what the client had no room for. See docs/adr/0006.

use std::collections::BTreeSet;

use chv_domain::{Event, Projection, Record, Resource, Seq, TraceContext};
use chv_proto::convert::{EncodedEvent, EncodedEvents};

use super::feed::{self, Delta, Touched};

/// How often a mark that is on its way is looked for before it counts as lost.
const LOOKS: u32 = 4;

/// The connection to the broker at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Whether it is there.
    pub up: bool,
    /// How often it was made so far.
    pub connects: u64,
}

/// A message to be handed to the broker.
#[derive(Debug, Clone, PartialEq)]
pub enum Outgoing {
    /// What changed for one host.
    Feed(Delta),
    /// An event to its subscribers.
    Event(Published),
    /// A message to oneself: when it comes back, the broker has had every event up to this one.
    Mark(Mark),
}

/// Tells that the broker has had every event up to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The last event before it.
    pub seq: Seq,
    /// Which one it is: after an outage an old one may come back that speaks of the same event, sent before that was sent
    /// again.
    pub serial: u64,
}

/// An event as it is published.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// The event.
    pub event: EncodedEvent,
    /// The trace it belongs to.
    pub trace: Option<TraceContext>,
}

/// How far the events of the log are published by one leader, and at which state the feeds stand.
#[derive(Debug)]
pub struct Publication {
    fed: Projection,
    next: Seq,
    published: Seq,
    connects: u64,
    /// The mark that is on its way.
    mark: Option<Awaited>,
    /// How many marks there were.
    marks: u64,
}

/// A mark that is on its way.
#[derive(Debug)]
struct Awaited {
    mark: Mark,
    /// How often it was looked for in vain since it was sent last.
    looks: u32,
}

/// Publishing from the log up to one state.
#[derive(Debug)]
pub struct CatchUp {
    names: Names,
    touched: BTreeSet<Touched>,
}

impl Publication {
    /// A new leader begins after the last event that is known to be published in `start`, the applied state.
    pub fn new(start: Projection, link: Link) -> Self {
        Self {
            next: start.published().next(),
            published: start.published(),
            fed: start,
            connects: link.connects,
            mark: None,
            marks: 0,
        }
    }

    /// Every event up to this one reached the broker.
    pub const fn published(&self) -> Seq {
        self.published
    }

    /// Whether there is anything to catch up with once `applied` is applied.
    pub fn is_behind(&self, applied: Seq) -> bool {
        self.next <= applied
    }

    /// Whether these records begin with the next event to publish.
    pub fn continues_with(&self, records: &[Record]) -> bool {
        records.first().is_some_and(|record| record.first == self.next)
    }

    /// What to send of a batch that was just committed and led to `state`. Of records that don't continue what is
    /// published, nothing: they are read from the log.
    pub fn batch(&mut self, records: &[Record], state: Projection, link: Link) -> Vec<Outgoing> {
        if !self.continues_with(records) {
            return Vec::new();
        }
        let touched = records.iter().flat_map(feed::touched).collect();
        let names = Names {
            before: self.fed.clone(),
            after: state.clone(),
        };
        let mut out = self.feeds(state, &touched, link);
        self.events(records, &names, link, &mut out);
        self.mark(&mut out);
        out
    }

    /// Begins to publish from the log what is applied and not published. `applied` is the applied state.
    pub fn catch_up(&self, applied: Projection) -> CatchUp {
        CatchUp {
            names: Names {
                before: self.fed.clone(),
                after: applied,
            },
            touched: BTreeSet::new(),
        }
    }

    /// The event to read the log from, while there is more to catch up with and a broker to tell.
    pub fn read_from(&self, up: &CatchUp, link: Link) -> Option<Seq> {
        (link.up && self.next <= up.names.after.seq()).then_some(self.next)
    }

    /// What to send of a page that was read from the log.
    pub fn page(&mut self, up: &mut CatchUp, page: &[Record], link: Link) -> Vec<Outgoing> {
        // The log goes on meanwhile: what is after the state that the feeds are brought to has its turn.
        let target = up.names.after.seq();
        let beyond = page.partition_point(|record| record.first <= target);
        let (mut out, page) = (Vec::new(), &page[..beyond]);
        up.touched.extend(page.iter().flat_map(feed::touched));
        self.events(page, &up.names, link, &mut out);
        self.mark(&mut out);
        out
    }

    /// Ends catching up: the feeds are brought to the state that was caught up with.
    pub fn caught_up(&mut self, up: CatchUp, link: Link) -> Vec<Outgoing> {
        if self.next > up.names.after.seq() {
            return self.feeds(up.names.after, &up.touched, link);
        }
        // What changed for whom is not known, so nobody is told: the next message of each feed has a gap
        // before it, and its host asks for its slice.
        self.fed = up.names.after;
        Vec::new()
    }

    /// A mark came back.
    pub fn came_back(&mut self, mark: Mark, link: Link) -> Vec<Outgoing> {
        let mut out = Vec::new();
        // After an outage the next check begins anew; until then no mark says anything.
        let awaited = self.mark.as_ref().is_some_and(|awaited| awaited.mark == mark);
        if awaited && link.connects == self.connects {
            self.mark = None;
            self.published = mark.seq;
            self.mark(&mut out);
        }
        out
    }

    /// After the broker was away, what may not have reached it is to be published again. Whether it was.
    pub fn check(&mut self, link: Link) -> bool {
        let was_away = link.up && link.connects != self.connects;
        if was_away {
            self.connects = link.connects;
            self.mark = None;
            self.next = self.published.next();
        }
        was_away
    }

    /// The mark that is on its way once more, when it was looked for in vain often enough: the broker, or the client
    /// on either way, may have dropped it. To be called at each check.
    pub fn overdue(&mut self, link: Link) -> Option<Outgoing> {
        let awaited = self.mark.as_mut().filter(|_| link.up)?;
        awaited.looks += 1;
        (awaited.looks >= LOOKS).then(|| {
            awaited.looks = 0;
            Outgoing::Mark(awaited.mark)
        })
    }

    /// The client took none of these: the events among them are to be published again. A host notices by itself
    /// that a message of its feed is missing.
    pub fn not_taken(&mut self, rest: &[Outgoing]) {
        let first = rest.iter().find_map(|message| match message {
            Outgoing::Event(published) => Some(published.event.seq),
            _ => None,
        });
        let Some(first) = first else {
            return;
        };
        self.next = self.next.min(first);
        // A mark after these events was not sent either; one that was sent earlier speaks of those before them.
        self.mark.take_if(|awaited| awaited.mark.seq >= first);
    }

    fn feeds(&mut self, state: Projection, touched: &BTreeSet<Touched>, link: Link) -> Vec<Outgoing> {
        let deltas = match link.up {
            true => feed::deltas(&self.fed, &state, touched),
            // Nobody would hear of it; the next message has a gap before it.
            false => Vec::new(),
        };
        self.fed = state;
        deltas.into_iter().map(Outgoing::Feed).collect()
    }

    fn events(&mut self, records: &[Record], names: &Names, link: Link, out: &mut Vec<Outgoing>) {
        // What is not published now is published when the broker is back.
        if !link.up {
            return;
        }
        for record in records {
            // Of a record that was published in part, only the rest: subscribers know events by their seq.
            let encoded = EncodedEvents::of(record);
            for (index, (seq, event)) in record.numbered().enumerate() {
                let event = match seq < self.next {
                    true => None,
                    false => encoded.get(index, || names.of(event)),
                };
                let Some(event) = event else { continue };
                out.push(Outgoing::Event(Published {
                    event,
                    trace: record.trace,
                }));
                self.next = seq.next();
            }
        }
    }

    /// A mark after the last event, unless one is on its way.
    fn mark(&mut self, out: &mut Vec<Outgoing>) {
        let last = Seq(self.next.0.saturating_sub(1));
        if self.mark.is_none() && last > self.published {
            self.marks += 1;
            let mark = Mark {
                seq: last,
                serial: self.marks,
            };
            self.mark = Some(Awaited { mark, looks: 0 });
            out.push(Outgoing::Mark(mark));
        }
    }
}

/// The states before and after what is published: an event is named by the one that knows what it is about.
#[derive(Debug)]
struct Names {
    before: Projection,
    after: Projection,
}

impl Names {
    fn of(&self, event: &Event) -> &Projection {
        let known = match event.resource() {
            Resource::Vm(vm) => self.after.vm(vm).is_some(),
            Resource::Host(host) => self.after.host(host).is_some(),
            Resource::Cluster => true,
        };
        if known { &self.after } else { &self.before }
    }
}
