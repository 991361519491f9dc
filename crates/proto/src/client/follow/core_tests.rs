//! Whatever is lost, doubled, late or out of order: each event once, in order, without a hole.

use proptest::prelude::*;

use super::*;

/// What may happen to a follower. Numbers are taken modulo what there is.
#[derive(Debug, Clone)]
pub(in crate::client::follow) enum Step {
    /// The log grows by so many.
    Commit(u64),
    /// A live message arrives: any that there is, again or early, as the network likes.
    Live(u64),
    /// The very next messages arrive, as when all is well.
    Flow(u64),
    Tick(u64),
    Reconnect,
    /// A page is read, if one is wanted, of a replica that lags by so many, with so many events.
    Read {
        lag: u64,
        size: u64,
        /// How many events before the first one asked for are in it, too.
        overlap: u64,
    },
}

pub(in crate::client::follow) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let read = (0..20_u64, 1..9_u64, 0..3_u64);
    let step = prop_oneof![
        (0..12_u64).prop_map(Step::Commit),
        any::<u64>().prop_map(Step::Live),
        (1..6_u64).prop_map(Step::Flow),
        any::<u64>().prop_map(Step::Tick),
        Just(Step::Reconnect),
        read.prop_map(|(lag, size, overlap)| Step::Read { lag, size, overlap }),
    ];
    proptest::collection::vec(step, 0..120)
}

pub(in crate::client::follow) struct World {
    core: Core,
    wanted: fn(u64) -> bool,
    pub(in crate::client::follow) last: u64,
    pub(in crate::client::follow) delivered: Vec<u64>,
}

impl World {
    pub(in crate::client::follow) fn new(from: u64, pages: Pages) -> Self {
        Self {
            core: Core::new(Seq(from), pages),
            wanted: match pages {
                Pages::Whole => |_| true,
                Pages::Filtered => |seq| seq.is_multiple_of(3),
            },
            last: 0,
            delivered: Vec::new(),
        }
    }

    fn live(&mut self, seq: u64) {
        if self.core.live(Seq(seq)) == Live::Deliver && (self.wanted)(seq) {
            self.delivered.push(seq);
        }
    }

    /// Reads a page if one is wanted; whether it was.
    fn read(&mut self, lag: u64, size: u64, overlap: u64) -> bool {
        let Some(ask) = self.core.wants() else {
            return false;
        };
        let applied = self.last.saturating_sub(lag);
        if ask.min_seq.is_some_and(|least| least.0 > applied) {
            return true;
        }
        let from = ask.from.0.max(1);
        let begin = from.saturating_sub(overlap).max(1);
        let end = applied.min(from.saturating_add(size - 1));
        let more = end < applied;
        let next = if more { end + 1 } else { from.max(applied + 1) };
        let taken = self.core.page(Page {
            events: (begin..=end)
                .filter(|seq| (self.wanted)(*seq))
                .map(|seq| (Seq(seq), seq))
                .collect(),
            next: Seq(next),
            more,
            applied: Seq(applied),
        });
        assert_eq!(taken.hole, None);
        self.delivered.extend(taken.events);
        true
    }

    pub(in crate::client::follow) fn step(&mut self, step: &Step) {
        match *step {
            Step::Commit(count) => self.last += count,
            Step::Live(_) | Step::Tick(_) if self.last == 0 => {}
            Step::Live(any) => self.live(any % self.last + 1),
            Step::Flow(count) => {
                let next = self.core.next().0;
                for seq in next..next.saturating_add(count) {
                    if (1..=self.last).contains(&seq) {
                        self.live(seq);
                    }
                }
            }
            Step::Tick(any) => self.core.tick(Seq(any % self.last + 1)),
            Step::Reconnect => self.core.reconnected(),
            Step::Read { lag, size, overlap } => {
                self.read(lag, size, overlap);
            }
        }
    }

    /// The network is well again: one tick, and the pages that are wanted.
    pub(in crate::client::follow) fn heal(&mut self) {
        self.core.tick(Seq(self.last));
        let mut reads = 0;
        while self.read(0, 5, 0) {
            reads += 1;
            assert!(reads <= self.last + 2, "it asks without end: {:?}", self.core);
        }
    }
}

proptest! {
    #[test]
    fn each_event_once_and_in_order(from in 0..40_u64, filtered: bool, steps in steps()) {
        // Given a follower of everything, or of what fits a filter,
        let mut world = World::new(from, if filtered { Pages::Filtered } else { Pages::Whole });
        // when messages are lost, doubled and disordered, replicas lag and the connection comes and goes,
        for step in &steps {
            world.step(step);
        }
        // then what it delivered so far has no hole,
        let expected = |world: &World| -> Vec<u64> {
            (from.max(1)..=world.last).filter(|seq| (world.wanted)(*seq)).collect()
        };
        let all = expected(&world);
        prop_assert!(all.starts_with(&world.delivered), "{:?} of {all:?}", world.delivered);
        // and once the network is well, it has delivered everything.
        world.heal();
        prop_assert_eq!(&world.delivered, &expected(&world));
    }

    #[test]
    fn a_page_that_leaves_a_number_out_is_a_hole(missing in 2..20_u64) {
        let mut core = Core::new(Seq(1), Pages::Whole);
        let events = (1..=20).filter(|seq| *seq != missing).map(|seq| (Seq(seq), seq)).collect();
        let taken = core.page(Page { events, next: Seq(21), more: false, applied: Seq(20) });
        prop_assert_eq!(taken.events, (1..missing).collect::<Vec<_>>());
        prop_assert_eq!(taken.hole, Some(Hole { missing: Seq(missing), found: Seq(missing + 1) }));
    }
}

#[test]
fn a_page_that_lacks_its_end_is_read_again_and_never_believed() {
    // Given a page of all events that says it looked at ten and holds seven,
    let mut core = Core::new(Seq(1), Pages::Whole);
    let events = (1..=7).map(|seq| (Seq(seq), seq)).collect();
    core.page(Page {
        events,
        next: Seq(11),
        more: false,
        applied: Seq(10),
    });
    // then the eighth is what comes next.
    assert_eq!(core.next(), Seq(8));
    core.tick(Seq(10));
    let ask = Ask {
        from: Seq(8),
        min_seq: Some(Seq(10)),
    };
    assert_eq!(core.wants(), Some(ask));
}

#[test]
fn from_zero_is_the_oldest_that_there_is() {
    let mut core = Core::new(Seq::ZERO, Pages::Whole);
    // A live message tells nothing of where the log begins.
    assert_eq!(core.live(Seq(50)), Live::Drop);
    let events = (41..=50).map(|seq| (Seq(seq), seq)).collect();
    let taken = core.page(Page {
        events,
        next: Seq(51),
        more: false,
        applied: Seq(50),
    });
    assert_eq!((taken.events.first(), taken.hole), (Some(&41), None));
    assert_eq!(core.wants(), None);
    assert_eq!(core.live(Seq(51)), Live::Deliver);
}

#[test]
fn numbers_may_be_the_largest_there_are() {
    let mut core = Core::new(Seq(u64::MAX), Pages::Whole);
    core.tick(Seq(u64::MAX));
    assert_eq!(core.live(Seq(u64::MAX)), Live::Deliver);
    assert_eq!(core.next(), Seq(u64::MAX));
}
