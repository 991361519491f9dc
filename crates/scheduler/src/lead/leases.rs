//! Which hosts hold leases, as one leader knows it from what it granted. None of it is in the log: a new leader knows
//! nothing, and counts no lease as over before every one that was granted before it is. Pure. See docs/adr/0026.
//!
//! A lease is granted only by a leader that has made sure, since the request reached it, that it leads. So a request
//! that an earlier leader granted was sent before this leader was elected, and its host counts from then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use chv_domain::{HostId, LeaseDuration};

/// What one leader has granted, for one term.
#[derive(Debug, Clone)]
pub struct Leases {
    lease: LeaseDuration,
    /// Before this, hosts may hold leases of earlier leaders.
    known_from: Instant,
    granted: BTreeMap<HostId, Instant>,
    /// Hosts whose VMs are being placed elsewhere: a lease that was granted now would let them start one again
    /// before they hear that it is gone.
    moving: BTreeSet<HostId>,
    /// Hosts that asked while they could be granted nothing, and when.
    asked: BTreeMap<HostId, Instant>,
}

impl Leases {
    /// A leader begins at `now` and grants leases of `lease`. `longest` is the longest that an earlier leader may
    /// have granted.
    pub fn new(lease: LeaseDuration, longest: LeaseDuration, now: Instant) -> Self {
        Self {
            lease,
            known_from: now + longest.over_after(),
            granted: BTreeMap::new(),
            moving: BTreeSet::new(),
            asked: BTreeMap::new(),
        }
    }

    /// Grants a lease to a host whose request has just been answered by making sure that this replica leads; `None`
    /// while its VMs are being placed elsewhere.
    pub fn grant(&mut self, host: HostId, now: Instant) -> Option<LeaseDuration> {
        if self.moving.contains(&host) {
            self.asked.insert(host, now);
            return None;
        }
        self.asked.remove(&host);
        self.granted.insert(host, now);
        Some(self.lease)
    }

    /// Whether the host's lease is over, and the guests that ran under it are.
    pub fn is_over(&self, host: HostId, now: Instant) -> bool {
        let over = |granted: &Instant| now >= *granted + self.lease.over_after();
        now >= self.known_from && self.granted.get(&host).is_none_or(over)
    }

    /// Whether the host is to be left alone for now, so that it is granted a lease when it asks again. It asked while its
    /// VMs were being moved: if some of them can't be, and each try came when the host asked, it would never get one.
    pub fn asks(&self, host: HostId, now: Instant) -> bool {
        self.asked
            .get(&host)
            .is_some_and(|asked| now < *asked + self.lease.get())
    }

    /// From here on the host is granted nothing: its VMs are being placed elsewhere.
    pub fn begin_moving(&mut self, host: HostId) {
        self.moving.insert(host);
    }

    /// What was to be moved is moved or stays, and the state says so.
    pub fn end_moving(&mut self) {
        self.moving.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HOST: HostId = HostId::from_bytes([7; 16]);

    fn leases(now: Instant) -> Leases {
        Leases::new(LeaseDuration::SHORTEST, LeaseDuration::LONGEST, now)
    }

    #[test]
    fn given_a_new_leader_then_no_lease_is_over_before_the_longest_of_an_earlier_one_is() {
        let start = Instant::now();
        let leases = leases(start);
        let known = start + LeaseDuration::LONGEST.over_after();
        assert!(!leases.is_over(HOST, known - Duration::from_millis(1)));
        assert!(leases.is_over(HOST, known));
    }

    #[test]
    fn given_a_grant_then_the_lease_is_over_a_margin_after_its_end() {
        let start = Instant::now();
        let mut leases = leases(start);
        let granted = start + Duration::from_secs(100);
        assert_eq!(leases.grant(HOST, granted), Some(LeaseDuration::SHORTEST));
        let over = granted + LeaseDuration::SHORTEST.over_after();
        assert!(!leases.is_over(HOST, over - Duration::from_millis(1)));
        assert!(leases.is_over(HOST, over));
    }

    #[test]
    fn given_a_host_whose_vms_are_being_moved_then_it_is_granted_nothing_until_they_are() {
        let start = Instant::now();
        let mut leases = leases(start);
        leases.begin_moving(HOST);
        assert_eq!(leases.grant(HOST, start), None);
        leases.end_moving();
        assert!(leases.grant(HOST, start).is_some());
    }

    #[test]
    fn given_a_host_that_asked_while_its_vms_were_being_moved_then_it_is_left_alone_until_it_asks_again() {
        let start = Instant::now();
        let mut leases = leases(start);
        leases.begin_moving(HOST);
        assert!(!leases.asks(HOST, start));
        leases.grant(HOST, start);
        leases.end_moving();
        assert!(leases.asks(HOST, start));
        // One that falls silent again is not left alone for long.
        assert!(!leases.asks(HOST, start + LeaseDuration::SHORTEST.get()));
        leases.grant(HOST, start);
        assert!(!leases.asks(HOST, start));
    }
}
