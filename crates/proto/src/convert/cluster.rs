//! The cluster: its replicas, and the commands that change who they are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use chv_domain::{Command, Introduction, ReplicaId};

use super::error::{WireError, parse};
use crate::v1;

pub(super) fn replica_from_wire(field: &str, number: u64) -> Result<ReplicaId, WireError> {
    ReplicaId::new(number).ok_or_else(|| WireError::new(field, "is 0, and replicas are numbered from 1"))
}

pub(super) fn addresses_to_wire(replicas: &BTreeMap<ReplicaId, SocketAddr>) -> Vec<v1::ReplicaAddress> {
    let one = |(replica, address): (&ReplicaId, &SocketAddr)| v1::ReplicaAddress {
        replica: replica.get(),
        address: address.to_string(),
    };
    replicas.iter().map(one).collect()
}

pub(super) fn addresses_from_wire(
    field: &str,
    replicas: Vec<v1::ReplicaAddress>,
) -> Result<BTreeMap<ReplicaId, SocketAddr>, WireError> {
    let one = |(index, one): (usize, v1::ReplicaAddress)| {
        let read = || {
            Ok((
                replica_from_wire("replica", one.replica)?,
                parse("address", &one.address)?,
            ))
        };
        read().map_err(|error: WireError| error.within(format!("{field}[{index}]")))
    };
    replicas.into_iter().enumerate().map(one).collect()
}

pub(super) fn add_to_wire(replica: ReplicaId, address: SocketAddr) -> v1::AddReplica {
    v1::AddReplica {
        replica: replica.get(),
        address: address.to_string(),
    }
}

pub(super) fn add_from_wire(add: &v1::AddReplica) -> Result<Command, WireError> {
    Ok(Command::AddReplica {
        replica: replica_from_wire("replica", add.replica)?,
        address: parse("address", &add.address)?,
    })
}

pub(super) fn remove_from_wire(remove: v1::RemoveReplica) -> Result<Command, WireError> {
    let replica = replica_from_wire("replica", remove.replica)?;
    Ok(Command::RemoveReplica { replica })
}

pub(super) fn replace_to_wire(old: ReplicaId, new: ReplicaId, address: SocketAddr) -> v1::ReplaceReplica {
    v1::ReplaceReplica {
        old: old.get(),
        new: new.get(),
        address: address.to_string(),
    }
}

pub(super) fn replace_from_wire(replace: &v1::ReplaceReplica) -> Result<Command, WireError> {
    Ok(Command::ReplaceReplica {
        old: replica_from_wire("old", replace.old)?,
        new: replica_from_wire("new", replace.new)?,
        address: parse("address", &replace.address)?,
    })
}

pub(super) fn report_to_wire(
    voters: &BTreeMap<ReplicaId, SocketAddr>,
    learners: &BTreeSet<ReplicaId>,
) -> v1::ReportReplicas {
    v1::ReportReplicas {
        voters: addresses_to_wire(voters),
        learners: learners.iter().map(|replica| replica.get()).collect(),
    }
}

pub(super) fn report_from_wire(report: v1::ReportReplicas) -> Result<Command, WireError> {
    let learner = |(index, number)| replica_from_wire(&format!("learners[{index}]"), number);
    Ok(Command::ReportReplicas {
        voters: addresses_from_wire("voters", report.voters)?,
        learners: report
            .learners
            .into_iter()
            .enumerate()
            .map(learner)
            .collect::<Result<_, _>>()?,
    })
}

pub(super) fn introduce_to_wire(introduced: &BTreeMap<ReplicaId, Introduction>) -> v1::IntroduceReplicas {
    let one = |(replica, told): (&ReplicaId, &Introduction)| v1::ReplicaIntroduction {
        replica: replica.get(),
        directory: told.directory.to_string(),
        format: told.format,
    };
    v1::IntroduceReplicas {
        introduced: introduced.iter().map(one).collect(),
    }
}

pub(super) fn introduce_from_wire(introduce: v1::IntroduceReplicas) -> Result<Command, WireError> {
    let one = |(index, told): (usize, v1::ReplicaIntroduction)| {
        let read = || {
            let introduction = Introduction {
                directory: parse("directory", &told.directory)?,
                format: told.format,
            };
            Ok((replica_from_wire("replica", told.replica)?, introduction))
        };
        read().map_err(|error: WireError| error.within(format!("introduced[{index}]")))
    };
    let introduced = introduce.introduced.into_iter().enumerate().map(one);
    Ok(Command::IntroduceReplicas {
        introduced: introduced.collect::<Result<_, _>>()?,
    })
}
