//! Who should hold the log: operators ask for one change at a time, none that could cost the quorum, and the
//! leader reports what the log's own membership has become.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::{Context, Finding, expects};
use crate::cluster::{Cluster, Introduction, Standing};
use crate::command::Submission;
use crate::event::{Event, Resource};
use crate::ids::ReplicaId;
use crate::rejection::{Rejection, RejectionCode};

pub(super) fn add(
    cluster: &Cluster,
    submission: &Submission,
    replica: ReplicaId,
    address: SocketAddr,
) -> Result<Finding, Rejection> {
    expects(submission, "the cluster", cluster.revision)?;
    if let Some(there) = cluster.member(replica)
        && there.address == address
        && there.standing != Standing::Leaving
    {
        return Ok(already(cluster));
    }
    enters(cluster, replica, address)?;
    settled(cluster)?;
    Ok(Finding::Events(vec![Event::ReplicaAdded {
        replica,
        address,
        instead_of: None,
    }]))
}

pub(super) fn replace(
    cluster: &Cluster,
    submission: &Submission,
    context: Context<'_>,
    old: ReplicaId,
    (new, address): (ReplicaId, SocketAddr),
) -> Result<Finding, Rejection> {
    expects(submission, "the cluster", cluster.revision)?;
    let asked = Standing::Joining {
        instead_of: Some(old),
    };
    if let Some(there) = cluster.member(new)
        && there.address == address
        && there.standing == asked
    {
        return Ok(already(cluster));
    }
    belongs(cluster, old)?;
    enters(cluster, new, address)?;
    settled(cluster)?;
    let mut voters = cluster.voters();
    voters.remove(&old);
    voters.insert(new);
    // The new one has caught up by then, so it answers.
    keeps_quorum(context, &voters, Some(new))?;
    Ok(Finding::Events(vec![Event::ReplicaAdded {
        replica: new,
        address,
        instead_of: Some(old),
    }]))
}

pub(super) fn remove(
    cluster: &Cluster,
    submission: &Submission,
    context: Context<'_>,
    replica: ReplicaId,
) -> Result<Finding, Rejection> {
    expects(submission, "the cluster", cluster.revision)?;
    let standing = belongs(cluster, replica)?;
    match standing {
        Standing::Leaving => return Ok(already(cluster)),
        // It is the change under way, and so given up.
        Standing::Joining { .. } => {}
        Standing::Voting => {
            settled(cluster)?;
            let mut voters = cluster.voters();
            voters.remove(&replica);
            if voters.is_empty() {
                let message = format!(
                    "replica {replica} is the cluster's last; add another one first, or replace this one"
                );
                return Err(Rejection::new(RejectionCode::LastReplica, message));
            }
            keeps_quorum(context, &voters, None)?;
        }
    }
    Ok(Finding::Events(vec![Event::ReplicaRemoved { replica }]))
}

pub(super) fn step_down(
    cluster: &Cluster,
    submission: &Submission,
    context: Context<'_>,
) -> Result<Finding, Rejection> {
    expects(submission, "the cluster", cluster.revision)?;
    let leader = context.replicas.leader;
    let heir = |replica: &ReplicaId| *replica != leader && context.replicas.is_there(*replica);
    if !cluster.voters().iter().any(heir) {
        let message =
            format!("no other replica that could lead answers replica {leader}; `chv status` shows them");
        return Err(Rejection::new(RejectionCode::NoQuorum, message));
    }
    Ok(Finding::Events(vec![Event::StepDownRequested { leader }]))
}

/// What the log's own membership is, as the leader sees it.
pub(super) fn report(
    cluster: &Cluster,
    voters: &BTreeMap<ReplicaId, SocketAddr>,
    learners: &BTreeSet<ReplicaId>,
) -> Result<Finding, Rejection> {
    if !cluster.is_formed() && !voters.is_empty() {
        return Ok(Finding::Events(vec![Event::ClusterFormed {
            replicas: voters.clone(),
        }]));
    }
    let mut events = Vec::new();
    for (replica, member) in cluster.members() {
        let gone = |replica| !voters.contains_key(&replica) && !learners.contains(&replica);
        match member.standing {
            Standing::Joining { instead_of } if voters.contains_key(&replica) => {
                match instead_of {
                    Some(replaced) if voters.contains_key(&replaced) => continue,
                    Some(_) | None => events.push(Event::ReplicaJoined { replica }),
                }
                events.extend(
                    instead_of
                        .filter(|replaced| gone(*replaced))
                        .map(|replaced| Event::ReplicaLeft { replica: replaced }),
                );
            }
            Standing::Leaving if gone(replica) => events.push(Event::ReplicaLeft { replica }),
            Standing::Joining { .. } | Standing::Leaving | Standing::Voting => {}
        }
    }
    match events.is_empty() {
        true => Ok(already(cluster)),
        false => Ok(Finding::Events(events)),
    }
}

/// What the replicas say of themselves. The first directory that is heard of is a replica's for good, and the format
/// is raised to what all of them read, those that join or leave included.
pub(super) fn introduce(
    cluster: &Cluster,
    introduced: &BTreeMap<ReplicaId, Introduction>,
) -> Result<Finding, Rejection> {
    let mut events = Vec::new();
    let mut lowest = None;
    for (replica, member) in cluster.members() {
        let told = introduced.get(&replica);
        if let (None, Some(told)) = (member.directory, told) {
            events.push(Event::ReplicaIntroduced {
                replica,
                directory: told.directory,
            });
        }
        // One that said nothing may read no more than what is written now.
        let reads = told.map_or(cluster.format(), |told| told.format);
        lowest = Some(lowest.map_or(reads, |lowest: u32| lowest.min(reads)));
    }
    if let Some(format) = lowest.filter(|lowest| *lowest > cluster.format()) {
        events.push(Event::FormatRaised { format });
    }
    match events.is_empty() {
        true => Ok(already(cluster)),
        false => Ok(Finding::Events(events)),
    }
}

/// Whether a replica may come in under this id, at this address.
fn enters(cluster: &Cluster, replica: ReplicaId, address: SocketAddr) -> Result<(), Rejection> {
    if address.ip().is_unspecified() || address.ip().is_multicast() || address.port() == 0 {
        let message = format!("{address} is no address that the other replicas could reach it at");
        return Err(Rejection::new(RejectionCode::Invalid, message));
    }
    if cluster.member(replica).is_some() || cluster.has_left(replica) {
        let message = format!(
            "the replica id {replica} was given before, and an id is given once; make the new replica with another one"
        );
        return Err(Rejection::new(RejectionCode::IdUsed, message));
    }
    if let Some((other, _)) = cluster.members().find(|(_, member)| member.address == address) {
        let message = format!("{address} is replica {other}'s address; give this one another");
        return Err(Rejection::new(RejectionCode::Exists, message));
    }
    Ok(())
}

fn belongs(cluster: &Cluster, replica: ReplicaId) -> Result<Standing, Rejection> {
    let member = cluster.member(replica).ok_or_else(|| {
        let message =
            format!("no replica {replica} belongs to the cluster; `chv status` shows those that do");
        Rejection::new(RejectionCode::NotFound, message)
    })?;
    Ok(member.standing)
}

/// Refuses while another change is under way, or before it is recorded who the replicas are.
fn settled(cluster: &Cluster) -> Result<(), Rejection> {
    if !cluster.is_formed() {
        let message = "the leader has not yet recorded who the replicas are; send it again in a second";
        return Err(Rejection::new(RejectionCode::UnderWay, message));
    }
    let Some((replica, member)) = cluster.under_way() else {
        return Ok(());
    };
    let message = format!(
        "replica {replica} is {} still, and membership changes one at a time; wait for it, or give it up with `chv cluster remove-replica` where it joins",
        member.standing.as_str()
    );
    Err(Rejection::new(RejectionCode::UnderWay, message))
}

/// Refuses `voters` of which the leader does not hear enough; `new` is one that will answer by then.
fn keeps_quorum(
    context: Context<'_>,
    voters: &BTreeSet<ReplicaId>,
    new: Option<ReplicaId>,
) -> Result<(), Rejection> {
    let there = |replica: &&ReplicaId| context.replicas.is_there(**replica) || new == Some(**replica);
    let (answering, needed) = (voters.iter().filter(there).count(), voters.len() / 2 + 1);
    if answering >= needed {
        return Ok(());
    }
    let silent: Vec<_> = voters
        .iter()
        .filter(|replica| !there(replica))
        .map(ToString::to_string)
        .collect();
    let message = format!(
        "of the {} replicas that would be left {answering} answer, {needed} are needed; start these first: {}",
        voters.len(),
        silent.join(", ")
    );
    Err(Rejection::new(RejectionCode::NoQuorum, message))
}

fn already(cluster: &Cluster) -> Finding {
    Finding::Already(Resource::Cluster, cluster.revision)
}
