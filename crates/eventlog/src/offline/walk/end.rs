//! What is known once everything was walked through: how far it goes, and what does not fit together.

use std::path::Path;

use chv_domain::{Projection, RecordHash, Seq};

use super::Walk;
use crate::offline::finding::Finding;
use crate::offline::snapshots::Held;
use crate::raft::fit::{self, Ends};

impl Walk {
    /// The state that goes furthest.
    pub(super) fn furthest(self) -> Projection {
        let of_snapshots = self.snapshots.into_iter().map(|held| held.state.projection);
        let of_state = self.state.map(|state| state.projection);
        let all = of_snapshots.chain(self.folding.whole()).chain(of_state);
        // Of equals the last: the log's own knows how far events were published.
        all.max_by_key(|state| (state.seq(), state.published()))
            .unwrap_or_default()
    }

    /// What only shows at the end.
    pub(super) fn left_over(&mut self, dir: &Path) -> Vec<Finding> {
        let mut findings = Vec::new();
        let compared = |held: &&Held| self.compared_files.contains(&held.file);
        self.alone += self.snapshots.iter().filter(|held| !compared(held)).count() as u64;
        let ends = Ends {
            purged: self.small.purged,
            last: self.last,
            vote: self.small.vote,
        };
        let newest = self.snapshots.last().and_then(|held| held.state.applied);
        let of_state = self.state.as_ref().and_then(|state| state.applied);
        findings.extend(
            fit::check(dir, &ends, newest.max(of_state))
                .err()
                .map(Finding::from),
        );
        findings
    }

    /// The last event that is vouched for: the log's, or that of a snapshot that goes further.
    pub(super) fn last(&self) -> (Seq, RecordHash) {
        let of_snapshots = self.snapshots.iter().map(|held| &held.state.projection);
        let furthest = of_snapshots
            .map(|state| (state.seq(), state.hash()))
            .max_by_key(|(seq, _)| *seq);
        let of_state = self
            .state
            .as_ref()
            .map(|state| (state.projection.seq(), state.projection.hash()));
        let all = [self.chain.at(), self.history, of_state, furthest];
        all.into_iter()
            .flatten()
            .max_by_key(|(seq, _)| *seq)
            .unwrap_or_default()
    }
}
