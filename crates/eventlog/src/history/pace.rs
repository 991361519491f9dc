//! When a snapshot is due, and how much of the log may go. Rules only.

use std::time::{Duration, Instant};

use chv_domain::{Projection, Seq};

/// Snapshots take at most this part of the time.
const SHARE: u32 = 6;

/// How much there is to write of a state: its VMs, and the commands whose outcome it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Weight(pub(crate) u64);

impl Weight {
    pub(crate) fn of(state: &Projection) -> Self {
        let things = state.vm_count() + state.outcome_count();
        Self(u64::try_from(things).unwrap_or(u64::MAX))
    }

    /// After how many events a state is to be written again that was written with this weight, which are `least` at the
    /// least: so many that what it costs for each event stays the same however large the state grows. Half of its weight,
    /// as most of it is taken over from the file before: a restarted replica has little to replay then.
    pub(crate) fn spread_over(self, least: u64) -> u64 {
        least.max(self.0 / 2)
    }
}

/// About how many bytes of log an event takes, with its share of the record.
const EVENT_BYTES: u64 = 128;

/// The most of the log that a restarted replica replays, in bytes, however large its state is.
const MOST_BYTES: u64 = 512 << 20;

/// How many events after a checkpoint with so many VMs the next one is, which are `least` at the least. As many as
/// there are VMs: to read a state, and to fold what is after it, then take about as long. Reading a large one takes
/// long anyhow; there, what writing it costs for each event is kept small.
pub(crate) fn checkpoints_apart(vms: u64, least: u64) -> u64 {
    let large = vms.saturating_sub(least.saturating_mul(4));
    least.max(vms).saturating_add(large.saturating_mul(3))
}

/// When snapshots are due: so often that a restarted replica has little to replay, and not so often that making them
/// is what the replica does.
#[derive(Debug)]
pub(crate) struct Pace {
    /// After this many events.
    events: u64,
    /// After this many bytes of log.
    bytes: u64,
    last: Seq,
    /// Of the newest snapshot.
    weight: Weight,
    asked: Option<Instant>,
    /// Where the newest snapshot ended when one was asked for.
    before: u64,
    not_before: Option<Instant>,
}

impl Pace {
    /// Of a replica whose newest snapshot has this weight, and holds the events up to `last`.
    pub(crate) fn new(events: u64, bytes: u64, last: Seq, weight: Weight) -> Self {
        Self {
            events,
            bytes,
            last,
            weight,
            asked: None,
            before: 0,
            not_before: None,
        }
    }

    /// After how many bytes of log the next snapshot is due.
    pub(crate) fn log_bytes(&self) -> u64 {
        let spread = self.weight.spread_over(self.events).saturating_mul(EVENT_BYTES);
        self.bytes.max(spread.min(MOST_BYTES))
    }

    /// Whether to ask for a snapshot now of a state with so much to write; once it says so it counts as asked. `snapshot`
    /// is the last entry of the newest one, `recent` the entry where the last [`Self::log_bytes`] of the log begin.
    pub(crate) fn is_due(
        &mut self,
        now: Instant,
        seq: Seq,
        weight: Weight,
        snapshot: u64,
        recent: u64,
    ) -> bool {
        if let Some(asked) = self.asked {
            if snapshot == self.before {
                // Being made. One that failed is asked for again after a while.
                return now.duration_since(asked) > Duration::from_secs(60)
                    && self.ask(seq, weight, snapshot, now);
            }
            self.asked = None;
            self.not_before = Some(now + now.duration_since(asked) * (SHARE - 1));
        }
        let far = seq.0.saturating_sub(self.last.0) >= self.weight.spread_over(self.events)
            || (snapshot < recent.saturating_sub(1) && seq > self.last);
        let rested = self.not_before.is_none_or(|until| until <= now);
        far && rested && self.ask(seq, weight, snapshot, now)
    }

    fn ask(&mut self, seq: Seq, weight: Weight, snapshot: u64, now: Instant) -> bool {
        (self.last, self.weight) = (seq, weight);
        self.before = snapshot;
        self.asked = Some(now);
        true
    }
}

/// Up to which entry the log may be purged: what is sealed and in the older of two snapshots, but for the newest entries, from
/// `kept_from` on. `None` when that is all purged already.
pub(crate) fn purge_upto(covered: u64, snapshot: u64, kept_from: u64, purged: u64) -> Option<u64> {
    let upto = covered.min(snapshot).min(kept_from.saturating_sub(1));
    (upto > purged).then_some(upto)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Weight = Weight(10);

    #[test]
    fn a_snapshot_is_due_after_so_many_events_or_bytes_and_not_while_one_is_made() {
        let (mut pace, start) = (Pace::new(100, 1 << 20, Seq(0), SMALL), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        assert!(!pace.is_due(at(0), Seq(99), SMALL, 0, 0));
        assert!(pace.is_due(at(0), Seq(100), SMALL, 0, 0));
        assert!(!pace.is_due(at(100), Seq(500), SMALL, 0, 0), "one is being made");
        // It took 200 ms: the next may begin after a second.
        assert!(!pace.is_due(at(200), Seq(900), SMALL, 7, 0));
        assert!(!pace.is_due(at(1_199), Seq(900), SMALL, 7, 0));
        assert!(pace.is_due(at(1_200), Seq(900), SMALL, 7, 0));
        assert!(!pace.is_due(at(1_200), Seq(900), SMALL, 8, 0));
        assert!(pace.is_due(at(1_200), Seq(901), SMALL, 8, 10), "much log since");
        // That one failed: it is asked for again.
        assert!(!pace.is_due(at(60_000), Seq(902), SMALL, 8, 10));
        assert!(pace.is_due(at(61_300), Seq(902), SMALL, 8, 10));
    }

    #[test]
    fn a_state_that_grows_with_each_event_is_written_ever_less_often_but_never_put_off_for_good() {
        // Given a state that has as much to write as there were events,
        let (mut pace, mut now) = (Pace::new(100, 1 << 20, Seq(0), Weight(0)), Instant::now());
        let (mut at, mut written, mut snapshot) = (Vec::new(), 0, 0);
        for seq in 1..=10_000 {
            now += Duration::from_secs(1);
            if pace.is_due(now, Seq(seq), Weight(seq), snapshot, 0) {
                (at, written, snapshot) = ([at, vec![seq]].concat(), written + seq, snapshot + 1);
            }
        }
        // then each is half as large again as the one before, and what was written in all is no more than three states.
        assert_eq!(at.first(), Some(&100));
        assert!(
            at[1..].windows(2).all(|two| two[1] <= two[0] + two[0] / 2 + 10),
            "{at:?}"
        );
        assert!(written <= 3 * 10_000, "{written} at {at:?}");
        // Nor is the log to be replayed without a bound.
        let heavy = Pace::new(100, 1 << 20, Seq(0), Weight(u64::MAX));
        assert_eq!(heavy.log_bytes(), MOST_BYTES);
    }

    #[test]
    fn checkpoints_of_a_state_are_as_far_apart_as_it_is_large_and_of_a_very_large_one_farther() {
        for (vms, apart) in [
            (0, 100),
            (100, 100),
            (300, 300),
            (400, 400),
            (500, 800),
            (10_000, 38_800),
        ] {
            assert_eq!(checkpoints_apart(vms, 100), apart, "{vms} VMs");
        }
    }

    #[test]
    fn only_what_is_sealed_and_in_a_snapshot_and_not_new_is_purged() {
        assert_eq!(purge_upto(50, 70, 100, 10), Some(50));
        assert_eq!(purge_upto(70, 50, 100, 10), Some(50));
        assert_eq!(purge_upto(70, 90, 31, 10), Some(30));
        assert_eq!(purge_upto(70, 90, 0, 0), None);
        assert_eq!(purge_upto(10, 90, 31, 10), None);
    }
}
