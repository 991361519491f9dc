//! The cluster: what is set and wanted of it, beside what the log's own membership is.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use chv_domain::{Member, Projection, ReplicaId, Standing};
use chv_eventlog::Membership;
use chv_proto::{convert, v1};

use super::Reader;

pub(super) fn get(reader: &Reader, state: &Projection) -> v1::ClusterState {
    let (cluster, status) = (state.cluster(), reader.log.status());
    v1::ClusterState {
        cluster: reader.cluster.to_string(),
        revision: cluster.revision.0,
        retention: Some(convert::retention_to_wire(cluster.retention())),
        forgotten: cluster.forgotten().map(convert::forgotten_to_wire),
        replicas: replicas(reader, state),
        left: cluster.left().map(ReplicaId::get).collect(),
        leader: status.leader.map_or(0, ReplicaId::get),
        term: status.term.0,
        format: cluster.format(),
    }
}

/// The replicas that belong to the cluster, and those that hold the log otherwise.
pub(super) fn replicas(reader: &Reader, state: &Projection) -> Vec<v1::ClusterReplica> {
    let (cluster, log) = (state.cluster(), reader.log.membership());
    let replicas: BTreeSet<ReplicaId> = cluster
        .members()
        .map(|(replica, _)| replica)
        .chain(log.voters.keys().copied())
        .chain(log.learners.keys().copied())
        .collect();
    replicas
        .into_iter()
        .map(|replica| one(replica, cluster.member(replica), &log))
        .collect()
}

fn one(replica: ReplicaId, wanted: Option<&Member>, log: &Membership) -> v1::ClusterReplica {
    let (member, address) = match (log.voters.get(&replica), log.learners.get(&replica)) {
        (Some(address), _) => ("voter", Some(address)),
        (None, Some(address)) => ("learner", Some(address)),
        (None, None) => ("none", None),
    };
    let instead_of = match wanted.map(|wanted| wanted.standing) {
        Some(Standing::Joining { instead_of }) => instead_of,
        Some(Standing::Voting | Standing::Leaving) | None => None,
    };
    let address = address.or(wanted.map(|wanted| &wanted.address));
    v1::ClusterReplica {
        replica: replica.get(),
        address: address.map(SocketAddr::to_string).unwrap_or_default(),
        member: member.to_owned(),
        standing: wanted.map_or("", |wanted| wanted.standing.as_str()).to_owned(),
        instead_of: instead_of.map_or(0, ReplicaId::get),
        since_us: wanted.map_or(0, |wanted| wanted.since.0),
    }
}
