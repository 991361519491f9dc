//! What may go on before an entry is flushed here, and what may not: docs/adr/0022. Rules only; the waiting is where
//! they are used.

use chv_domain::ReplicaId;
use openraft::EntryPayload;

use super::{Entry, Vote};

/// How far the log is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Every entry up to this one.
    Upto(u64),
    /// Unknown, since a write failed; nothing is written any more.
    Failed,
}

/// The log's writer has failed.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the log could not be written; restart this replica once its disk is well")]
pub(crate) struct NotFlushed;

/// The vote that this replica opens with. One that led may have sent entries that a power loss then took from its
/// own disk, and as the same leader it would give their numbers to others: so it does not lead in that term again. It
/// is left as if it had only stood in it, and not gone on to a term of its own, which would depose who leads now.
pub(super) fn no_longer_leading(vote: Option<Vote>, replica: ReplicaId) -> Option<Vote> {
    vote.map(|vote| match vote.leader_id.node_id == replica.get() {
        true => Vote::new(vote.leader_id.term, replica.get()),
        false => vote,
    })
}

/// Whether openraft may take the entry as flushed before it is: only the leader's own, and never one that changes who
/// is a member, since the next change is proposed as soon as this one is committed.
pub(super) fn may_go_ahead(entry: &Entry, vote: Option<Vote>, replica: ReplicaId) -> bool {
    let leads = vote.is_some_and(|vote| {
        vote.committed && vote.leader_id.node_id == replica.get() && vote.leader_id == entry.log_id.leader_id
    });
    leads && !matches!(entry.payload, EntryPayload::Membership(_))
}

#[cfg(test)]
mod tests {
    use openraft::{LeaderId, Membership};

    use super::*;
    use crate::raft::{LogId, TypeConfig};

    const ME: u64 = 2;

    fn me() -> ReplicaId {
        ReplicaId::new(ME).unwrap()
    }

    fn entry(term: u64, leader: u64, payload: EntryPayload<TypeConfig>) -> Entry {
        Entry {
            log_id: LogId::new(LeaderId::new(term, leader), 7),
            payload,
        }
    }

    #[test]
    fn only_what_this_replica_proposes_as_the_leader_goes_ahead_of_its_flush() {
        let leading = Some(Vote::new_committed(5, ME));
        assert!(may_go_ahead(&entry(5, ME, EntryPayload::Blank), leading, me()));
        // Proposed by this replica in an earlier term, and given back by the leader of this one.
        assert!(!may_go_ahead(&entry(4, ME, EntryPayload::Blank), leading, me()));
        assert!(!may_go_ahead(&entry(5, 1, EntryPayload::Blank), leading, me()));
        let following = Some(Vote::new_committed(5, 1));
        assert!(!may_go_ahead(&entry(5, ME, EntryPayload::Blank), following, me()));
        let standing = Some(Vote::new(5, ME));
        assert!(!may_go_ahead(&entry(5, ME, EntryPayload::Blank), standing, me()));
        let members = EntryPayload::Membership(Membership::new(vec![[ME].into()], None));
        assert!(!may_go_ahead(&entry(5, ME, members), leading, me()));
    }

    #[test]
    fn a_replica_that_led_opens_as_one_that_stood_and_deposes_nobody() {
        // Given a replica that led, when it opens, it leads no more,
        let led = Vote::new_committed(5, ME);
        let opened = no_longer_leading(Some(led), me()).unwrap();
        assert!(!opened.committed);
        // follows who was elected since, and nobody from before,
        assert!(Vote::new_committed(6, 1) > opened && Vote::new(6, 1) > opened);
        assert!(Vote::new_committed(5, 1) < opened && Vote::new_committed(4, 3) < opened);
        // and stands in a later term, if it does.
        assert_eq!(opened.leader_id.term, 5);
        // One that followed or stood stays as it was, and one that never voted has no vote.
        for other in [Vote::new_committed(7, 1), Vote::new(7, 1), Vote::new(7, ME)] {
            assert_eq!(no_longer_leading(Some(other), me()), Some(other));
        }
        assert_eq!(no_longer_leading(None, me()), None);
    }
}
