//! What a follower knows of the numbers, and what it does with each thing that it hears. Pure: no runtime, no
//! broker, no clock. Nothing is kept but numbers, however much is missed.
//!
//! The shell feeds it, in any order and as often as it likes, and obeys:
//!
//! ```text
//! live(seq)      a live message   -> Deliver it, or Drop it
//! tick(last)     a leader's tick
//! reconnected()  the connection is back: messages may be missing
//! wants()        -> None, or Some(Ask): read a page from `from` on, of a state that has `min_seq`
//! page(page)     such a page      -> its events to deliver, or the hole that it shows
//! ```
//!
//! A live message is a hint: it is delivered only when it is the very next one; else its number says how far
//! the log is known to be, and what is missing is read. Live messages that come while a page is asked for may
//! wait or be dropped: it makes no difference to what is delivered.

use chv_domain::Seq;

/// How far a follower is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Core {
    /// The next number to look at; zero for the oldest that there is.
    next: Seq,
    /// The last number that is known to exist.
    known: Seq,
    /// Whether there may be more than is known.
    unsure: bool,
    /// Whether pages hold every event, or only those that fit a filter.
    pages: Pages,
}

/// What the pages hold that the shell reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// Every event: a number that is left out is a hole.
    Whole,
    /// Those that fit a filter.
    Filtered,
}

/// What to do with a live message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Live {
    /// It is the next event: hand it over.
    Deliver,
    /// It was handed over before, or comes too early: a page will have it.
    Drop,
}

/// A page to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// The first number wanted; zero for the oldest that there is.
    pub from: Seq,
    /// What the answering replica must have applied; `None` when any state will do.
    pub min_seq: Option<Seq>,
}

/// A page that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<E> {
    /// Its events with their numbers, in order.
    pub events: Vec<(Seq, E)>,
    /// The first number that it did not look at.
    pub next: Seq,
    /// Whether its replica has more from there on.
    pub more: bool,
    /// The last event that its replica had applied.
    pub applied: Seq,
}

/// A page left a number out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    /// The number that should be there.
    pub missing: Seq,
    /// The number that is.
    pub found: Seq,
}

/// What came of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken<E> {
    /// The events to hand over, in order: those before a hole, if there is one.
    pub events: Vec<E>,
    /// Where the page has a hole. Following can't go on.
    pub hole: Option<Hole>,
    /// Whether the page brought the follower on. If not, and more is wanted, pause before asking again.
    pub progress: bool,
}

impl Core {
    /// Follows from `from` on; [`Seq::ZERO`] is the oldest event that there is. Wants a page at once.
    pub const fn new(from: Seq, pages: Pages) -> Self {
        Self {
            next: from,
            known: Seq::ZERO,
            unsure: true,
            pages,
        }
    }

    /// The next number to look at: everything before it was handed over, or was not wanted.
    pub const fn next(&self) -> Seq {
        self.next
    }

    /// Takes a live message with this number.
    pub fn live(&mut self, seq: Seq) -> Live {
        // The first page says what the oldest is.
        if seq == self.next && seq != Seq::ZERO {
            self.next = after(seq);
            return Live::Deliver;
        }
        self.tick(seq);
        Live::Drop
    }

    /// Takes the leader's word that there are events up to `last`.
    pub fn tick(&mut self, last: Seq) {
        self.known = self.known.max(last);
    }

    /// The connection was away and is back: there may be events that nothing was heard of.
    pub const fn reconnected(&mut self) {
        self.unsure = true;
    }

    /// The page to read now, if one is needed.
    pub fn wants(&self) -> Option<Ask> {
        let missing = self.next <= self.known && self.known != Seq::ZERO;
        (self.unsure || missing).then_some(Ask {
            from: self.next,
            min_seq: missing.then_some(self.known),
        })
    }

    /// Takes a page that was read as [`Core::wants`] said, now or earlier.
    pub fn page<E>(&mut self, page: Page<E>) -> Taken<E> {
        let before = self.next;
        let mut taken = Taken {
            events: Vec::new(),
            hole: None,
            progress: false,
        };
        for (seq, event) in page.events {
            if seq < self.next {
                continue;
            }
            if seq > self.next && self.next != Seq::ZERO && self.pages == Pages::Whole {
                let missing = self.next;
                taken.hole = Some(Hole { missing, found: seq });
                return taken;
            }
            self.next = after(seq);
            taken.events.push(event);
        }
        // A filtered page looked at more than it holds, but never beyond what its replica has; a whole one says
        // by its events how far it goes, and nothing else is believed.
        if self.pages == Pages::Filtered || self.next == Seq::ZERO {
            self.next = self.next.max(page.next.min(after(page.applied)));
        }
        taken.progress = self.next > before;
        self.unsure = page.more && taken.progress;
        taken
    }
}

/// The number after `seq`; numbers from the network may be the largest there is.
const fn after(seq: Seq) -> Seq {
    Seq(seq.0.saturating_add(1))
}

#[cfg(test)]
#[path = "core_tests.rs"]
pub(super) mod tests;
