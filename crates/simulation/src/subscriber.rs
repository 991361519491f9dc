//! One who follows the events, with the follower's own code. At times it begins anew where it was.

use chv_domain::Seq;
use chv_proto::client::follow::core::{Core, Live, Page, Pages};
use chv_proto::{convert, v1};

use crate::packet::{EventPage, ToReplica};
use crate::schedule::MS;
use crate::world::{Event, World};

/// How long a page is waited for.
const PAGE: u64 = 600 * MS;

/// The pause after a page that could not be had.
const AGAIN: u64 = 100 * MS;

#[derive(Debug)]
pub(crate) struct Subscriber {
    core: Core,
    /// The page that is asked for.
    asked: Option<u64>,
    asks: u64,
    /// The last event that was handed over.
    pub(crate) last: Seq,
}

impl Subscriber {
    pub(crate) fn new(_: usize) -> Self {
        Self {
            core: Core::new(Seq(1), Pages::Whole),
            asked: None,
            asks: 0,
            last: Seq::ZERO,
        }
    }
}

impl World {
    /// Asks for a page when one is wanted; `asked` is one that was waited for long enough, or 0.
    pub(crate) fn subscriber_acts(&mut self, subscriber: usize, asked: u64) {
        let there = &mut self.subscribers[subscriber];
        if there.asked == Some(asked) {
            there.asked = None;
        }
        let Some(ask) = there.core.wants().filter(|_| there.asked.is_none()) else {
            return;
        };
        there.asks += 1;
        there.asked = Some(there.asks);
        let asked = there.asks;
        self.schedule.after(PAGE, Event::Subscriber { subscriber, asked });
        self.tell_any(ToReplica::AskPage {
            subscriber,
            asked,
            from: ask.from,
            least: ask.min_seq.unwrap_or_default(),
        });
    }

    pub(crate) fn event_heard(&mut self, subscriber: usize, message: v1::EventMessage) {
        if self.subscribers[subscriber].core.live(Seq(message.seq)) == Live::Deliver {
            self.delivered(subscriber, message);
        }
        self.subscriber_acts(subscriber, 0);
    }

    pub(crate) fn tick_heard(&mut self, subscriber: usize, seq: Seq) {
        self.subscribers[subscriber].core.tick(seq);
        self.subscriber_acts(subscriber, 0);
    }

    pub(crate) fn page_heard(&mut self, subscriber: usize, asked: u64, page: Option<&EventPage>) {
        let there = &mut self.subscribers[subscriber];
        if there.asked != Some(asked) {
            return;
        }
        there.asked = None;
        let progress = page.is_some_and(|page| {
            let taken = self.subscribers[subscriber].core.page(Page {
                events: page
                    .events
                    .iter()
                    .map(|event| (Seq(event.seq), event.clone()))
                    .collect(),
                next: page.next,
                more: page.more,
                applied: page.applied,
            });
            if let Some(hole) = taken.hole {
                self.oracle
                    .wrong(format!("subscriber {subscriber} was shown a hole: {hole:?}"));
            }
            for event in taken.events {
                self.delivered(subscriber, event);
            }
            taken.progress
        });
        if progress {
            self.subscriber_acts(subscriber, 0);
        } else {
            self.schedule
                .after(AGAIN, Event::Subscriber { subscriber, asked: 0 });
        }
    }

    fn delivered(&mut self, subscriber: usize, message: v1::EventMessage) {
        let seq = Seq(message.seq);
        let there = &mut self.subscribers[subscriber];
        let expected = there.last.next();
        there.last = seq;
        if seq != expected {
            let what = format!("subscriber {subscriber} was given event {seq} instead of {expected}");
            self.oracle.wrong(what);
        }
        self.oracle.delivered(&message);
        if convert::event_from_wire(message).is_err() {
            self.oracle
                .wrong(format!("subscriber {subscriber} can't read event {seq}"));
        }
    }

    /// The subscriber's process ends, and begins where it was; messages may be missed meanwhile.
    pub(crate) fn resubscribe(&mut self, subscriber: usize) {
        let there = &mut self.subscribers[subscriber];
        there.core = Core::new(there.last.next(), Pages::Whole);
        there.asked = None;
        self.subscriber_acts(subscriber, 0);
    }
}
