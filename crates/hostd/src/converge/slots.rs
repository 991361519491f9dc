//! How many guests are started at once on this host, and in which order where many wait: those with the higher start
//! priority first, and of equals the one that asked first.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chv_domain::spec::StartPriority;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// After this many tasks for each core that want to run, a guest that was just started keeps its slot while it boots.
const BUSY_PER_CORE: usize = 8;

/// Between two looks at whether the host is busy.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How long a guest keeps its slot at most, on a busy host, before it says that it is ready: not all say so.
const BOOT_LIMIT: Duration = Duration::from_secs(10);

/// How long nobody is let through where all VMs of a host ask at once: so that all of them have asked.
const GATHER: Duration = Duration::from_millis(100);

/// The slots of a host.
#[derive(Debug, Clone)]
pub struct Slots(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    count: usize,
    busy: fn() -> bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    asked: u64,
    gathering: usize,
    waiting: BTreeMap<(Reverse<StartPriority>, u64), oneshot::Sender<Slot>>,
}

/// The right to start a guest; the next one's when it is dropped.
#[derive(Debug)]
pub(super) struct Slot(Option<Slots>);

/// A place among those who wait. Dropped, it is nobody's.
#[derive(Debug)]
pub(super) struct Place(oneshot::Receiver<Slot>);

impl Slots {
    /// So many; `busy` says whether this host has more to do than it can.
    pub fn new(count: usize, busy: fn() -> bool) -> Self {
        Self(Arc::new(Inner {
            count,
            busy,
            state: Mutex::default(),
        }))
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.count
    }

    /// Asks for one. It may be had at once.
    pub(super) fn ask(&self, priority: StartPriority) -> Place {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state();
        state.asked += 1;
        let key = (Reverse(priority), state.asked);
        state.waiting.insert(key, sender);
        drop(state);
        self.hand_out();
        Place(receiver)
    }

    /// Lets nobody through until all VMs of this host have had the time to ask.
    pub(super) async fn gather(self) {
        tokio::time::sleep(GATHER).await;
        self.state().gathering -= 1;
        self.hand_out();
    }

    /// Whoever says this then waits for [`Slots::gather`].
    pub(super) fn begin_to_gather(&self) {
        self.state().gathering += 1;
    }

    fn hand_out(&self) {
        while let Some(first) = self.next() {
            // Its place may be nobody's any more; then it is the one's after it.
            if let Err(mut slot) = first.send(Slot(Some(self.clone()))) {
                slot.0 = None;
                self.state().taken -= 1;
            }
        }
    }

    fn next(&self) -> Option<oneshot::Sender<Slot>> {
        let mut state = self.state();
        if state.gathering > 0 || state.taken >= self.0.count {
            return None;
        }
        let (_, first) = state.waiting.pop_first()?;
        state.taken += 1;
        Some(first)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Waits until it is this one's turn; `None` where the slots are gone.
    pub(super) async fn turn(self) -> Option<Slot> {
        self.0.await.ok()
    }
}

impl Slot {
    /// Whether this host has more to do than it can.
    fn host_is_busy(&self) -> bool {
        self.0.as_ref().is_some_and(|slots| (slots.0.busy)())
    }
}

/// A guest that boots on a busy host, and its slot.
#[derive(Debug)]
pub(super) struct Booting {
    slot: Slot,
    until: Instant,
}

impl Booting {
    /// The guest in `slot` was started; nothing where the host has room for the next one at once.
    pub(super) fn with(slot: Slot) -> Option<Self> {
        let until = Instant::now() + BOOT_LIMIT;
        slot.host_is_busy().then_some(Self { slot, until })
    }
}

/// Waits until the next guest may have the slot, and gives it back.
pub(super) async fn booted(booting: &mut Option<Booting>) {
    match booting {
        None => std::future::pending().await,
        Some(Booting { slot, until }) => {
            while slot.host_is_busy() && Instant::now() < *until {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }
    *booting = None;
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(slots) = self.0.take() {
            slots.state().taken -= 1;
            slots.hand_out();
        }
    }
}

/// Whether more tasks want to run on this host than it can bear, as its kernel counts them.
pub fn host_is_busy() -> bool {
    let Ok(load) = std::fs::read_to_string("/proc/loadavg") else {
        return false;
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    runnable(&load).is_some_and(|runnable| runnable > cores * BUSY_PER_CORE)
}

fn runnable(load: &str) -> Option<usize> {
    load.split_ascii_whitespace()
        .nth(3)?
        .split_once('/')?
        .0
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Move {
        Ask(i32),
        GiveUp(prop::sample::Index),
        GiveBack(prop::sample::Index),
    }

    fn moves() -> impl Strategy<Value = Vec<Move>> {
        let one = prop_oneof![
            3 => (-3..3).prop_map(Move::Ask),
            1 => any::<prop::sample::Index>().prop_map(Move::GiveUp),
            2 => any::<prop::sample::Index>().prop_map(Move::GiveBack),
        ];
        prop::collection::vec(one, 1..60)
    }

    proptest! {
        #[test]
        fn never_more_are_let_through_than_there_are_slots_and_always_the_first_in_order(
            count in 1_usize..4, moves in moves(),
        ) {
            let slots = Slots::new(count, || false);
            let mut waiting: VecDeque<(i32, u32, Place)> = VecDeque::new();
            let mut through: Vec<Slot> = Vec::new();
            for (number, step) in (0..).zip(moves) {
                match step {
                    Move::Ask(priority) => {
                        waiting.push_back((priority, number, slots.ask(priority.try_into().unwrap())));
                    }
                    Move::GiveUp(which) if !waiting.is_empty() => {
                        waiting.remove(which.index(waiting.len()));
                    }
                    Move::GiveBack(which) if !through.is_empty() => {
                        through.remove(which.index(through.len()));
                    }
                    Move::GiveUp(_) | Move::GiveBack(_) => {}
                }
                // Then whoever is let through is the first of those who wait.
                loop {
                    let first = (0..waiting.len()).max_by_key(|at| (waiting[*at].0, Reverse(waiting[*at].1)));
                    let let_through: Vec<usize> =
                        (0..waiting.len()).filter(|at| !waiting[*at].2.0.is_empty()).collect();
                    let Some(first) = first.filter(|first| let_through.contains(first)) else {
                        prop_assert!(let_through.is_empty(), "another one than the first");
                        break;
                    };
                    let (_, _, mut place) = waiting.remove(first).unwrap();
                    through.push(place.0.try_recv().unwrap());
                }
                prop_assert!(through.len() <= count);
                prop_assert!(waiting.is_empty() || through.len() == count, "a slot lies idle");
            }
        }
    }

    #[tokio::test]
    async fn given_all_that_ask_at_once_then_the_first_in_order_is_the_first_also_when_it_asks_last() {
        let slots = Slots::new(1, || false);
        slots.begin_to_gather();
        let mut late = slots.ask(0.try_into().unwrap());
        let mut first = slots.ask(7.try_into().unwrap());
        assert!(late.0.try_recv().is_err() && first.0.try_recv().is_err());
        slots.clone().gather().await;
        assert!(late.0.try_recv().is_err());
        first.0.try_recv().unwrap();
    }

    #[test]
    fn given_the_kernels_words_then_what_wants_to_run_is_counted() {
        assert_eq!(runnable("0.20 0.18 0.12 17/80 11206\n"), Some(17));
        assert_eq!(runnable(""), None);
    }
}
