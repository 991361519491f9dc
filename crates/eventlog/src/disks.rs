//! Whether enough replicas' disks take more of the log. Rules only: what is known of each disk is told from elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use chv_domain::ReplicaId;

use crate::files::DiskTrouble;

/// What is known of the disks of replicas that have trouble with them.
pub(crate) type Troubles = BTreeMap<ReplicaId, DiskTrouble>;

/// Nothing is appended for now: the leader's own disk takes no more of the log, or the disks of so many others that no
/// majority has one that does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoDisk(Troubles);

impl NoDisk {
    /// Whether nothing of it is for want of room.
    pub fn is_read_only(&self) -> bool {
        let read_only = |trouble: &DiskTrouble| matches!(trouble, DiskTrouble::ReadOnly(_));
        self.0.values().all(read_only)
    }
}

impl std::fmt::Display for NoDisk {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, (replica, trouble)) in self.0.iter().enumerate() {
            let before = if at == 0 { "" } else { "; " };
            write!(out, "{before}replica {replica}: {trouble}")?;
        }
        Ok(())
    }
}

impl std::error::Error for NoDisk {}

/// Whether the replica `own` may append, as far as disks go. `voters` are those of each membership of which a majority is
/// needed: two, while they change.
pub(crate) fn check(own: ReplicaId, troubles: Troubles, voters: &[BTreeSet<u64>]) -> Result<(), NoDisk> {
    let troubled = |voter: &&u64| ReplicaId::new(**voter).is_some_and(|voter| troubles.contains_key(&voter));
    let too_few = |voters: &BTreeSet<u64>| 2 * voters.iter().filter(troubled).count() >= voters.len();
    let refused = !troubles.is_empty() && (troubles.contains_key(&own) || voters.iter().any(too_few));
    if refused { Err(NoDisk(troubles)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(number: u64) -> ReplicaId {
        ReplicaId::new(number).unwrap()
    }

    fn full() -> DiskTrouble {
        DiskTrouble::NearlyFull("no room".to_owned())
    }

    #[test]
    fn who_has_no_disk_for_the_log_is_named_with_the_reason() {
        let troubles = Troubles::from([
            (id(2), full()),
            (id(3), DiskTrouble::ReadOnly("no writing".to_owned())),
        ]);
        let refused = check(id(1), troubles.clone(), &[BTreeSet::from([1, 2, 3])]).unwrap_err();
        assert_eq!(refused.to_string(), "replica 2: no room; replica 3: no writing");
        assert!(!refused.is_read_only());
        // Of five they are too few to matter, and while the voters change both majorities are needed.
        let (three, five) = (BTreeSet::from([1, 2, 3]), BTreeSet::from([1, 2, 3, 4, 5]));
        assert_eq!(
            check(id(1), troubles.clone(), std::slice::from_ref(&five)),
            Ok(())
        );
        assert!(check(id(1), troubles, &[five, three]).is_err());
    }

    proptest! {
        #[test]
        fn it_may_append_exactly_when_its_own_disk_and_a_majoritys_take_more(
            troubled in prop::collection::vec(any::<bool>(), 1..8)
        ) {
            let of = |(at, troubled): (usize, &bool)| troubled.then(|| (id(at as u64 + 1), full()));
            let troubles: Troubles = troubled.iter().enumerate().filter_map(of).collect();
            let well = troubled.len() - troubles.len();
            let voters: BTreeSet<u64> = (1..=troubled.len() as u64).collect();
            let may = !troubled[0] && 2 * well > troubled.len();
            prop_assert_eq!(check(id(1), troubles, &[voters]).is_ok(), may);
        }
    }
}
