//! How far this host has followed, and what it knows to be wanted: which news count, and which show that some
//! were missed. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use chv_domain::{DesiredVm, HostId, HostSlice, Seq, VmId};
use chv_proto::convert::FeedDelta;

use crate::converge::Wish;

/// What is known to be wanted.
#[derive(Debug)]
pub struct Feed {
    host: HostId,
    /// Everything up to here is known; `None` before the first slice.
    position: Option<Seq>,
    /// There is news up to here.
    seen: Seq,
    /// What the leader said last; `None` before it said anything.
    leader: Option<Seq>,
    vms: BTreeMap<VmId, Arc<DesiredVm>>,
}

impl Feed {
    /// Nothing is known but that the log has come as far as `reached`.
    pub const fn new(host: HostId, reached: Seq) -> Self {
        Self {
            host,
            position: None,
            seen: reached,
            leader: None,
            vms: BTreeMap::new(),
        }
    }

    /// How far everything is known.
    pub fn position(&self) -> Seq {
        self.position.unwrap_or(Seq::ZERO)
    }

    /// The least position that a slice must have to be of use; `None` when nothing is missing, and before the
    /// leader was heard: an older slice than the leader's would lack VMs that run here.
    pub fn missing(&self) -> Option<Seq> {
        (self.leader.is_some() && self.position != Some(self.seen)).then_some(self.seen)
    }

    /// Takes all that is wanted. Nothing comes of a slice that is older than what is known, or another host's.
    pub fn slice(&mut self, slice: HostSlice) -> Option<Wish> {
        if slice.host != self.host || slice.feed < self.seen {
            return None;
        }
        (self.position, self.seen) = (Some(slice.feed), slice.feed);
        self.vms = slice.vms.into_iter().map(|vm| (vm.vm, Arc::new(vm))).collect();
        Some(Wish::All(self.vms.values().cloned().collect(), slice.feed))
    }

    /// Takes a change. When some before it were missed, what it says of each VM counts all the same, but not what
    /// it says is gone; [`Feed::missing`] then says that a slice is needed.
    pub fn delta(&mut self, delta: FeedDelta) -> Vec<Wish> {
        if delta.host != self.host || self.position.is_some_and(|position| delta.feed <= position) {
            return Vec::new();
        }
        self.seen = self.seen.max(delta.feed);
        // Before the first slice it isn't known what of this is still so.
        let Some(position) = self.position else {
            return Vec::new();
        };
        let complete = delta.prev.is_some_and(|prev| prev <= position) && self.seen == delta.feed;
        let mut wishes = Vec::new();
        for vm in delta.vms {
            let newer = |known: &Arc<DesiredVm>| (known.epoch, known.revision) < (vm.epoch, vm.revision);
            if self.vms.get(&vm.vm).is_none_or(newer) {
                let vm = Arc::new(vm);
                self.vms.insert(vm.vm, vm.clone());
                wishes.push(Wish::Vm(vm));
            }
        }
        if complete {
            for vm in delta.gone {
                self.vms.remove(&vm);
                wishes.push(Wish::NotOurs(vm, delta.feed));
            }
            self.position = Some(delta.feed);
        }
        wishes
    }

    /// Takes the position that the leader has for this host. A change may still be on its way: what has not come
    /// by the next time was missed. False when the leader knows less than this host has seen.
    pub fn leader_is_at(&mut self, feed: Seq) -> bool {
        if feed < self.seen {
            return false;
        }
        let missed = self.leader.is_some_and(|before| before > self.position());
        if self.position.is_none() || missed {
            self.seen = feed;
        }
        self.leader = Some(feed);
        true
    }
}

#[cfg(test)]
mod tests;
