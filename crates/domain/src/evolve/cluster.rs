//! What events do to the cluster's membership and settings.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::cluster::{Cluster, Member, Standing};
use crate::ids::{DirectoryId, ReplicaId};
use crate::record::Record;
use crate::retention::Forgotten;

pub(super) fn formed(cluster: &mut Cluster, record: &Record, replicas: &BTreeMap<ReplicaId, SocketAddr>) {
    for (replica, address) in replicas {
        enter(cluster, record, *replica, *address, Standing::Voting);
    }
}

pub(super) fn added(
    cluster: &mut Cluster,
    record: &Record,
    replica: ReplicaId,
    address: SocketAddr,
    instead_of: Option<ReplicaId>,
) {
    enter(
        cluster,
        record,
        replica,
        address,
        Standing::Joining { instead_of },
    );
}

fn enter(
    cluster: &mut Cluster,
    record: &Record,
    replica: ReplicaId,
    address: SocketAddr,
    standing: Standing,
) {
    let member = Member {
        address,
        standing,
        since: record.time,
        directory: None,
    };
    cluster.members.insert(replica, member);
}

pub(super) fn joined(cluster: &mut Cluster, record: &Record, replica: ReplicaId) {
    let replaced = match cluster.members.get(&replica).map(|member| member.standing) {
        Some(Standing::Joining { instead_of }) => instead_of,
        _ => None,
    };
    stand(cluster, record, replica, Standing::Voting);
    if let Some(replaced) = replaced {
        stand(cluster, record, replaced, Standing::Leaving);
    }
}

pub(super) fn removed(cluster: &mut Cluster, record: &Record, replica: ReplicaId) {
    stand(cluster, record, replica, Standing::Leaving);
}

pub(super) fn left(cluster: &mut Cluster, replica: ReplicaId) {
    cluster.members.remove(&replica);
    cluster.left.insert(replica);
}

pub(super) fn step_down(cluster: &mut Cluster, record: &Record) {
    cluster.step_down = Some(record.term);
}

/// What is forgotten stays so.
pub(super) fn forgotten(cluster: &mut Cluster, now: Forgotten) {
    if cluster.forgotten.is_none_or(|known| known.upto < now.upto) {
        cluster.forgotten = Some(now);
    }
}

pub(super) fn introduced(cluster: &mut Cluster, replica: ReplicaId, directory: DirectoryId) {
    if let Some(member) = cluster.members.get_mut(&replica) {
        member.directory = Some(directory);
    }
}

pub(super) fn format_raised(cluster: &mut Cluster, format: u32) {
    cluster.format = cluster.format.max(format);
}

fn stand(cluster: &mut Cluster, record: &Record, replica: ReplicaId, standing: Standing) {
    if let Some(member) = cluster.members.get_mut(&replica) {
        member.standing = standing;
        member.since = record.time;
    }
}
