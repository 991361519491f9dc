//! Where a commit's time goes, as the leader tells it.

use chv_proto::v1::ReplicaStatus;
use serde::Serialize;

use crate::plan::Quantiles;

/// One stage of a commit.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Stage {
    pub(crate) name: String,
    pub(crate) took: Quantiles,
}

/// The leader's stages. Replicas do not tell them yet.
pub(crate) fn of(_states: &[ReplicaStatus]) -> Vec<Stage> {
    Vec::new()
}
