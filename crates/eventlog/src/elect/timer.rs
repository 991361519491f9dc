//! When to stand for election. Pure: it is told the time, what was heard, and a random number.
//!
//! Raft's own timer draws its delay once a process, so two replicas that stand at the same moment do so again and
//! again; this one draws anew for each attempt.

use std::time::{Duration, Instant};

/// How often [`Timer::tick`] is to be called.
pub(crate) const TICK: Duration = Duration::from_millis(20);

/// A tick that is later than this says that the machine stood still, and so that the leader's silence may have been
/// its own.
const LATE: Duration = Duration::from_millis(100);

/// What a replica is, as far as elections go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It leads, or has no vote.
    Out,
    /// It is the only voter.
    Alone,
    /// It could lead.
    Follower,
    /// It could lead, but would better leave that to another one.
    Reluctant,
}

/// One replica's patience with a silent leader.
pub(crate) struct Timer {
    /// How long after it was heard a leader is safe: the others vote for nobody else before.
    lease: Duration,
    quiet_since: Instant,
    ticked: Instant,
    delay: Duration,
    /// Whether it stood since it led last, or began.
    stood: bool,
}

impl Timer {
    pub(crate) fn new(now: Instant, lease: Duration, random: f64) -> Self {
        Self {
            lease,
            quiet_since: now,
            ticked: now,
            delay: delay(lease, random),
            stood: false,
        }
    }

    /// Whether to ask for votes now. `heard` is when a leader was last heard, or another candidate voted for;
    /// `random` is from 0 to 1.
    pub(crate) fn tick(&mut self, now: Instant, heard: Instant, standing: Standing, random: f64) -> bool {
        let late = now.saturating_duration_since(self.ticked).saturating_sub(TICK);
        self.ticked = now;
        if late > LATE {
            self.quiet_since += late;
        }
        self.quiet_since = self.quiet_since.max(heard).min(now);
        let patience = match standing {
            Standing::Out => {
                self.quiet_since = now;
                self.stood = false;
                return false;
            }
            Standing::Alone if !self.stood => Duration::ZERO,
            // Each attempt writes a vote, and on a slow disk the next one would come before that is flushed.
            Standing::Alone | Standing::Follower => self.delay,
            Standing::Reluctant => self.delay + self.lease,
        };
        if now.saturating_duration_since(self.quiet_since) < patience {
            return false;
        }
        self.quiet_since = now;
        self.delay = delay(self.lease, random);
        self.stood = true;
        true
    }

    /// The others were asked, which took until `now`: ask them again after a whole delay, or once the leader that they
    /// hear is no longer `safe`.
    pub(crate) fn again_after(&mut self, now: Instant, safe: Option<Duration>) {
        (self.quiet_since, self.ticked) = (now, now);
        if let Some(safe) = safe {
            // Of the delay that was drawn, what is beyond the lease, so that two that wait for the same moment part.
            self.delay = safe + self.delay.saturating_sub(self.lease) / 4;
        }
    }
}

/// From just over the lease, when the others may vote again, to two thirds more.
fn delay(lease: Duration, random: f64) -> Duration {
    lease + lease.mul_f64(0.05 + 0.6 * random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LEASE: Duration = Duration::from_millis(800);

    /// Ticks until it stands for election; after how long that was.
    fn until_it_stands(timer: &mut Timer, start: Instant, heard: Instant, standing: Standing) -> Duration {
        let mut now = start;
        while !timer.tick(now, heard, standing, 0.5) {
            now += TICK;
            assert!(now < start + LEASE * 5, "it never stands");
        }
        now - start
    }

    #[test]
    fn a_leader_that_is_heard_is_left_alone_and_a_silent_one_is_not() {
        let start = Instant::now();
        let mut timer = Timer::new(start, LEASE, 0.0);
        let mut now = start;
        for _ in 0..1000 {
            assert!(!timer.tick(now, now, Standing::Follower, 0.0));
            now += TICK;
        }
        let waited = until_it_stands(&mut timer, now, now, Standing::Follower);
        assert!(waited >= LEASE && waited < LEASE * 2, "{waited:?}");
    }

    #[test]
    fn the_only_voter_stands_at_once_and_a_leader_or_learner_never() {
        let now = Instant::now();
        let mut timer = Timer::new(now, LEASE, 0.0);
        assert!(timer.tick(now, now, Standing::Alone, 0.0));
        // and is given time to win, also where a vote takes long to write.
        assert!((1..40).all(|tick| !timer.tick(now + TICK * tick, now, Standing::Alone, 0.0)));
        assert!((40..80).any(|tick| timer.tick(now + TICK * tick, now, Standing::Alone, 0.0)));
        let mut timer = Timer::new(now, LEASE, 0.0);
        assert!((0..1000).all(|tick| !timer.tick(now + TICK * tick, now, Standing::Out, 0.0)));
    }

    #[test]
    fn a_reluctant_replica_stands_later_than_any_other() {
        let start = Instant::now();
        let mut eager = Timer::new(start, LEASE, 1.0);
        let mut reluctant = Timer::new(start, LEASE, 0.0);
        let first = until_it_stands(&mut eager, start, start, Standing::Follower);
        assert!(first < until_it_stands(&mut reluctant, start, start, Standing::Reluctant));
    }

    #[test]
    fn one_that_is_told_of_a_leader_asks_again_soon_after_that_one_is_no_longer_safe() {
        let start = Instant::now();
        let mut timer = Timer::new(start, LEASE, 0.0);
        let asked = start + until_it_stands(&mut timer, start, start, Standing::Follower);
        // given a voter that heard a leader 600 ms ago, and an answer that took a while
        let (now, safe) = (asked + LEASE / 2, Duration::from_millis(200));
        timer.again_after(now, Some(safe));
        // then it asks again once that leader is not safe any more, and soon
        let waited = until_it_stands(&mut timer, now, start, Standing::Follower);
        assert!(waited >= safe && waited < safe * 2, "{waited:?}");
    }

    #[test]
    fn a_machine_that_stood_still_does_not_take_that_for_the_leaders_silence() {
        let start = Instant::now();
        let mut timer = Timer::new(start, LEASE, 0.0);
        assert!(!timer.tick(start + LEASE * 10, start, Standing::Follower, 0.0));
    }

    proptest! {
        #[test]
        fn two_attempts_are_never_closer_than_the_lease(
            randoms in prop::collection::vec(0.0f64..=1.0, 1..20)
        ) {
            let start = Instant::now();
            let mut timer = Timer::new(start, LEASE, 0.3);
            let (mut now, mut last) = (start, start);
            for random in randoms.into_iter().cycle().take(500) {
                now += TICK;
                if timer.tick(now, start, Standing::Follower, random) {
                    prop_assert!(now - last >= LEASE && now - last <= LEASE * 2);
                    last = now;
                }
            }
            prop_assert!(last > start);
        }
    }
}
