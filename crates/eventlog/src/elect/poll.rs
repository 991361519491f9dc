//! Before a replica stands for election it asks the voters whether they would vote for it. One that was cut off, or
//! whose log is behind, then does not raise the term, which would depose a leader that the others hear.

use std::collections::BTreeSet;
use std::time::Duration;

use openraft::{BasicNode, RaftMetrics};
use tokio::task::JoinSet;

use crate::net::Peers;
use crate::raft::LogId;

/// By so much Raft may know later than what is noted here that a leader was heard.
const MARGIN: Duration = Duration::from_millis(10);

/// What a voter says to a replica that would stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opinion {
    /// It would vote for it, as far as it knows now.
    Yes,
    /// It leads, or has heard a leader lately, who is safe for this long if it says nothing more.
    LeaderHeard { safe: Duration },
    /// It has more of the log.
    Behind,
}

impl Opinion {
    /// The opinion of a voter whose log ends at `own`, of a candidate whose log ends at `theirs`. `quiet` is how long
    /// the voter has heard no leader; `None` when it never heard one.
    pub(crate) fn of(
        theirs: Option<LogId>,
        own: Option<LogId>,
        quiet: Option<Duration>,
        lease: Duration,
    ) -> Self {
        let safe = quiet.and_then(|quiet| (lease + MARGIN).checked_sub(quiet));
        match safe {
            Some(safe) if !safe.is_zero() => Self::LeaderHeard { safe },
            Some(_) | None if theirs < own => Self::Behind,
            Some(_) | None => Self::Yes,
        }
    }
}

/// What the voters together say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlook {
    /// A majority would vote for it.
    Wins,
    /// Another one has more of the log, and should stand.
    Behind,
    /// A leader is heard by others, who may think otherwise after this long.
    LeaderHeard { safe: Duration },
    /// Too few answer.
    Unanswered,
}

/// The opinions so far.
struct Tally {
    /// The voters; while they change, those before and those after, of each of which a majority is needed.
    voters: Vec<BTreeSet<u64>>,
    yes: BTreeSet<u64>,
    behind: bool,
    safe: Option<Duration>,
}

impl Tally {
    fn new(own: u64, voters: Vec<BTreeSet<u64>>) -> Self {
        Self {
            voters,
            yes: BTreeSet::from([own]),
            behind: false,
            safe: None,
        }
    }

    fn take(&mut self, voter: u64, opinion: Opinion) {
        match opinion {
            Opinion::Yes => {
                self.yes.insert(voter);
            }
            Opinion::Behind => self.behind = true,
            Opinion::LeaderHeard { safe } => {
                self.safe = Some(self.safe.map_or(safe, |known| known.min(safe)));
            }
        }
    }

    fn wins(&self) -> bool {
        let most = |voters: &BTreeSet<u64>| self.yes.intersection(voters).count() > voters.len() / 2;
        self.voters.iter().all(most)
    }

    fn outlook(&self) -> Outlook {
        match (self.wins(), self.behind, self.safe) {
            (true, ..) => Outlook::Wins,
            (false, true, _) => Outlook::Behind,
            (false, false, Some(safe)) => Outlook::LeaderHeard { safe },
            (false, false, None) => Outlook::Unanswered,
        }
    }
}

/// Asks all other voters for a replica whose log ends at `last`, each for at most `patience`, until a majority would vote for this replica or all have said
/// what they think.
pub(super) async fn poll(
    known: RaftMetrics<u64, BasicNode>,
    last: Option<LogId>,
    peers: &Peers,
    patience: Duration,
) -> Outlook {
    let membership = known.membership_config.membership();
    let mut tally = Tally::new(known.id, membership.get_joint_config().clone());
    let mut asking = JoinSet::new();
    for voter in membership.voter_ids().filter(|voter| *voter != known.id) {
        if let Some(node) = membership.get_node(&voter) {
            let (peers, node) = (peers.clone(), node.clone());
            asking.spawn(async move { (voter, peers.would_vote(voter, &node, last, patience).await) });
        }
    }
    while let Some(asked) = asking.join_next().await {
        if let Ok((voter, Ok(opinion))) = asked {
            tally.take(voter, opinion);
        }
        if tally.wins() {
            break;
        }
    }
    tally.outlook()
}

#[cfg(test)]
mod tests {
    use super::*;
    use openraft::CommittedLeaderId;
    use proptest::prelude::*;

    const LEASE: Duration = Duration::from_millis(800);

    fn end(term: u64, index: u64) -> Option<LogId> {
        Some(LogId::new(CommittedLeaderId::new(term, 1), index))
    }

    #[test]
    fn a_voter_that_hears_a_leader_says_how_long_that_one_is_safe() {
        let quiet = Some(Duration::from_millis(300));
        let heard = Opinion::of(end(9, 9), end(1, 1), quiet, LEASE);
        let safe = LEASE + MARGIN - Duration::from_millis(300);
        assert_eq!(heard, Opinion::LeaderHeard { safe });
    }

    #[test]
    fn a_voter_that_hears_nobody_looks_at_the_log_alone() {
        for quiet in [None, Some(LEASE * 2)] {
            assert_eq!(Opinion::of(end(2, 5), end(2, 6), quiet, LEASE), Opinion::Behind);
            assert_eq!(Opinion::of(end(1, 9), end(2, 6), quiet, LEASE), Opinion::Behind);
            assert_eq!(Opinion::of(None, end(1, 1), quiet, LEASE), Opinion::Behind);
            assert_eq!(Opinion::of(end(2, 6), end(2, 6), quiet, LEASE), Opinion::Yes);
            assert_eq!(Opinion::of(None, None, quiet, LEASE), Opinion::Yes);
        }
    }

    #[test]
    fn while_the_voters_change_both_majorities_are_needed() {
        let voters = vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([3, 4, 5])];
        let mut tally = Tally::new(1, voters);
        tally.take(2, Opinion::Yes);
        assert_eq!(tally.outlook(), Outlook::Unanswered);
        tally.take(4, Opinion::Yes);
        tally.take(3, Opinion::Behind);
        assert_eq!(tally.outlook(), Outlook::Behind);
        tally.take(5, Opinion::Yes);
        assert_eq!(tally.outlook(), Outlook::Wins);
    }

    proptest! {
        #[test]
        fn it_wins_exactly_when_a_majority_says_yes(opinions in prop::collection::vec(any::<Option<bool>>(), 0..6)) {
            let size = opinions.len() + 1;
            let mut tally = Tally::new(0, vec![(0..size as u64).collect()]);
            for (voter, opinion) in (1..).zip(&opinions) {
                match opinion {
                    Some(true) => tally.take(voter, Opinion::Yes),
                    Some(false) => tally.take(voter, Opinion::LeaderHeard { safe: LEASE }),
                    None => {}
                }
            }
            let yes = opinions.iter().filter(|opinion| **opinion == Some(true)).count() + 1;
            prop_assert_eq!(tally.outlook() == Outlook::Wins, 2 * yes > size);
        }
    }
}
