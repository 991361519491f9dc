//! What a host knows of its lease: until when guests may run under it, and whether one may be started. Pure.

use std::time::Duration;

use chv_domain::{LeaseDuration, Seq};

/// A moment of a host's clock: how long after its boot, the time that it slept included. Nobody sets this clock, and it
/// goes on while no daemon runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SinceBoot(pub Duration);

/// A leader's answer to a request for the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// When the request was sent: the lease counts from here, so it ends here before it ends for the leader.
    pub sent: SinceBoot,
    /// How long it lasts.
    pub lease: LeaseDuration,
    /// The position of the host's feed in the leader's state when it granted this.
    pub feed: Seq,
}

/// What taking a grant in takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// It came too late to be of use.
    Late,
    /// The lease goes on.
    GoesOn,
    /// The lease has lapsed in between: guests that ran under it have to be ended before the new one counts. They may
    /// be another host's by now.
    Lapsed,
}

/// A host's lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeldLease {
    /// Guests may run until then.
    until: Option<SinceBoot>,
    /// The position of the newest grant that was heard since the daemon began.
    feed: Option<Seq>,
    /// When it last ended before it was renewed.
    lapsed: Option<SinceBoot>,
}

impl HeldLease {
    /// What a daemon begins with: the end that the one before it has noted, if any.
    pub const fn kept(until: Option<SinceBoot>) -> Self {
        Self {
            until,
            feed: None,
            lapsed: None,
        }
    }

    /// Until when guests may run under it.
    pub const fn until(&self) -> Option<SinceBoot> {
        self.until
    }

    /// Whether guests may run under it.
    pub fn is_held(&self, now: SinceBoot) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Whether a guest may be started under it by a host that has followed its feed up to `position`. One that is
    /// behind what the leader named could start what is another host's by now.
    pub fn may_start(&self, now: SinceBoot, position: Seq) -> bool {
        self.is_held(now) && self.feed.is_some_and(|feed| position >= feed)
    }

    /// What it takes to take in `grant`.
    pub fn renewal(&self, grant: &Grant, now: SinceBoot) -> Renewal {
        match () {
            () if grant.ends() <= now => Renewal::Late,
            () if self.is_held(now) => Renewal::GoesOn,
            () => Renewal::Lapsed,
        }
    }

    /// Whether there was an end of it at or after `from`, also when it was renewed since.
    pub fn has_ended_since(&self, from: SinceBoot, now: SinceBoot) -> bool {
        !self.is_held(now) || self.lapsed.is_some_and(|lapsed| from <= lapsed)
    }

    /// Takes it in.
    pub fn renew(&mut self, grant: &Grant, now: SinceBoot) {
        if !self.is_held(now) {
            self.lapsed = self.until;
        }
        self.until = self.until.max(Some(grant.ends()));
        self.feed = self.feed.max(Some(grant.feed));
    }
}

impl Grant {
    /// When guests have to be ended unless there is another grant.
    fn ends(&self) -> SinceBoot {
        SinceBoot(self.sent.0 + self.lease.runs_for())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> SinceBoot {
        SinceBoot(Duration::from_millis(ms))
    }

    fn grant(sent: u64, feed: u64) -> Grant {
        Grant {
            sent: at(sent),
            lease: LeaseDuration::default(),
            feed: Seq(feed),
        }
    }

    #[test]
    fn given_a_grant_then_guests_run_for_four_fifths_of_it_from_when_it_was_asked_for() {
        let mut lease = HeldLease::default();
        assert!(!lease.is_held(at(0)));
        assert_eq!(lease.renewal(&grant(1000, 7), at(2000)), Renewal::Lapsed);
        lease.renew(&grant(1000, 7), at(2000));
        assert!(lease.is_held(at(12_999)) && !lease.is_held(at(13_000)));
        // when the next one comes in time, then it goes on; when it comes after the end, it has lapsed.
        assert_eq!(lease.renewal(&grant(2000, 7), at(12_999)), Renewal::GoesOn);
        assert_eq!(lease.renewal(&grant(2000, 7), at(13_000)), Renewal::Lapsed);
        assert_eq!(lease.renewal(&grant(2000, 7), at(14_000)), Renewal::Late);
    }

    #[test]
    fn given_a_daemon_that_begins_anew_then_guests_run_on_and_none_starts_before_a_grant() {
        let mut lease = HeldLease::kept(Some(at(5000)));
        assert!(lease.is_held(at(4000)) && !lease.may_start(at(4000), Seq(99)));
        lease.renew(&grant(4000, 7), at(4100));
        assert!(!lease.may_start(at(4500), Seq(6)) && lease.may_start(at(4500), Seq(7)));
    }

    #[test]
    fn given_a_lease_that_ended_and_was_granted_again_then_what_ran_before_is_known_to_have_ended_with_it() {
        let mut lease = HeldLease::default();
        lease.renew(&grant(1000, 7), at(1100));
        assert!(!lease.has_ended_since(at(1200), at(12_999)) && lease.has_ended_since(at(1200), at(13_000)));
        // when it is granted again, then that goes for what was started before the end, and not for what came after.
        lease.renew(&grant(20_000, 7), at(20_100));
        assert!(
            lease.has_ended_since(at(12_999), at(20_200)) && !lease.has_ended_since(at(20_150), at(20_200))
        );
    }

    proptest! {
        /// Answers come late and in any order: none shortens the lease, and none makes more of it than it granted.
        #[test]
        fn the_lease_ends_when_the_grant_that_was_asked_for_last_does(sent in prop::collection::vec(0u64..50_000, 1..9)) {
            let mut lease = HeldLease::default();
            for sent in &sent {
                lease.renew(&grant(*sent, 1), at(*sent));
            }
            let last = *sent.iter().max().unwrap();
            prop_assert_eq!(lease.until(), Some(grant(last, 1).ends()));
        }
    }
}
