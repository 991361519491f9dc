//! Brings the log's own membership to what is wanted of the cluster, a step at a time, and records what became so.
//!
//! Which step is due follows from what is wanted and what Raft has ([`plan`], pure), so a new leader goes on where
//! another one ended.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use chv_domain::cluster::Cluster;
use chv_domain::{Command, Introduction, Member, ReplicaId, Standing};
use chv_eventlog::{Membership, MembershipError};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::intake::Waiting;
use super::{Office, own};

/// How often it is looked whether a step is due.
const LOOK: Duration = Duration::from_millis(200);

/// How many entries a replica may be behind to be given a vote: it has the rest before the next few are flushed.
const CLOSE: u64 = 64;

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// Send the log to a new replica.
    Teach(ReplicaId, SocketAddr),
    /// Make these the voters.
    Vote(BTreeSet<ReplicaId>),
    /// Send a replica the log no more.
    Forget(ReplicaId),
    /// Let another replica lead, which then takes this one out.
    HandOver,
    /// Record what became so.
    Record,
    /// Record what replicas say of themselves.
    Introduce(BTreeMap<ReplicaId, Introduction>),
}

/// The next step toward what is wanted; `None` when there is none, or a replica has to catch up first.
fn plan(wanted: &Cluster, log: &Membership, leader: ReplicaId) -> Option<Step> {
    let votes = |replica: ReplicaId| log.voters.contains_key(&replica);
    let holds = |replica: ReplicaId| votes(replica) || log.learners.contains_key(&replica);
    if !wanted.is_formed() {
        return (!log.joint && !log.voters.is_empty()).then_some(Step::Record);
    }
    let target = wanted.voters();
    let mut missing = target.iter().filter(|replica| !holds(**replica));
    if let Some((replica, member)) = missing.find_map(|replica| Some((*replica, wanted.member(*replica)?))) {
        return Some(Step::Teach(replica, member.address));
    }
    let next = next_voters(wanted, log);
    let now: BTreeSet<_> = log.voters.keys().copied().collect();
    if !next.is_empty() && (next != now || log.joint) {
        if next.contains(&leader) {
            return Some(Step::Vote(next));
        }
        // A leader that would take itself out leaves that to another voter, of which there has to be one.
        return Some(match next.iter().any(|replica| votes(*replica)) && !log.joint {
            true => Step::HandOver,
            false => Step::Vote(next.into_iter().chain([leader]).collect()),
        });
    }
    if let Some(replica) = log.learners.keys().find(|replica| !target.contains(replica)) {
        return Some(Step::Forget(*replica));
    }
    let (replica, member) = wanted.under_way()?;
    let done = match member.standing {
        Standing::Joining { .. } => votes(replica),
        Standing::Leaving => !holds(replica),
        Standing::Voting => false,
    };
    done.then_some(Step::Record)
}

/// What the replicas say of themselves, where the cluster does not know it: a directory, or that all of them read more than
/// is written.
fn introductions(
    wanted: &Cluster,
    told: BTreeMap<ReplicaId, Introduction>,
) -> Option<BTreeMap<ReplicaId, Introduction>> {
    let unknown =
        |(replica, member): (ReplicaId, &Member)| member.directory.is_none() && told.contains_key(&replica);
    let reads_more = |(replica, _): (ReplicaId, &Member)| {
        told.get(&replica)
            .is_some_and(|told| told.format > wanted.format())
    };
    let news = wanted.members().any(unknown) || (wanted.is_formed() && wanted.members().all(reads_more));
    news.then_some(told)
}

/// Who may vote now: those that vote and should, a replica that was replaced until the new one has caught up, and
/// new ones that have.
fn next_voters(wanted: &Cluster, log: &Membership) -> BTreeSet<ReplicaId> {
    let target = wanted.voters();
    let caught_up = |replica: &ReplicaId| {
        let at = log.progress.get(replica);
        log.learners.contains_key(replica) && at.is_some_and(|at| at + CLOSE >= log.last)
    };
    let mut next: BTreeSet<_> = target
        .iter()
        .copied()
        .filter(|replica| log.voters.contains_key(replica) || caught_up(replica))
        .collect();
    for (replica, member) in wanted.members() {
        if let Standing::Joining {
            instead_of: Some(old),
        } = member.standing
            && !next.contains(&replica)
            && log.voters.contains_key(&old)
        {
            next.insert(old);
        }
    }
    next
}

/// A step was not taken. It stays due.
#[derive(Debug, thiserror::Error)]
enum StepError {
    /// By Raft.
    #[error(transparent)]
    Raft(#[from] MembershipError),
    /// By the rules for commands.
    #[error(transparent)]
    Refused(#[from] own::Refused),
}

/// Takes steps for as long as the term lasts.
pub(super) async fn run(office: Office, queue: mpsc::Sender<Waiting>) {
    let mut trouble = String::new();
    loop {
        tokio::select! {
            () = office.stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let (state, log) = (office.reader.log.projection(), office.reader.log.membership());
        let planned = plan(state.cluster(), &log, office.reader.replica);
        let introduced = || introductions(state.cluster(), office.reader.log.introductions());
        let Some(step) = planned.or_else(|| introduced().map(Step::Introduce)) else {
            continue;
        };
        info!(?step, "membership");
        let taken = tokio::select! {
            () = office.stop.cancelled() => return,
            taken = take(&office, &queue, &step, &log) => taken,
        };
        match taken {
            Ok(()) => trouble.clear(),
            Err(error) => {
                let words = error.to_string();
                if words != trouble {
                    warn!(
                        ?step,
                        error = words,
                        "the membership does not change; trying again"
                    );
                    trouble = words;
                }
            }
        }
    }
}

async fn take(
    office: &Office,
    queue: &mpsc::Sender<Waiting>,
    step: &Step,
    log: &Membership,
) -> Result<(), StepError> {
    let raft = &office.reader.log;
    match step {
        Step::Teach(replica, address) => Ok(raft.add_learner(*replica, *address).await?),
        Step::Vote(voters) => Ok(raft.change_voters(voters).await?),
        Step::Forget(replica) => Ok(raft.remove_learner(*replica).await?),
        Step::HandOver => {
            office.hand_over.cancel();
            Ok(())
        }
        Step::Record => {
            let command = Command::ReportReplicas {
                voters: log.voters.clone(),
                learners: log.learners.keys().copied().collect(),
            };
            record(office, queue, command).await
        }
        Step::Introduce(introduced) => {
            let introduced = introduced.clone();
            record(office, queue, Command::IntroduceReplicas { introduced }).await
        }
    }
}

/// Records what is to be known of the membership. Where it is not known whether that was done, the office ends.
async fn record(office: &Office, queue: &mpsc::Sender<Waiting>, command: Command) -> Result<(), StepError> {
    own::record(office, queue, command)
        .await
        .map_or(Ok(()), |done| done.map_err(StepError::from))
}

#[cfg(test)]
mod tests;
