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

/// The leader's stages: of the replica that has led the most commands, should the leader have changed.
pub(crate) fn of(states: &[ReplicaStatus]) -> Vec<Stage> {
    let commands = |state: &&ReplicaStatus| state.stages.iter().map(|stage| stage.commands).max();
    let Some(leader) = states.iter().max_by_key(commands) else {
        return Vec::new();
    };
    let stage = |told: &chv_proto::v1::StageTiming| Stage {
        name: told.stage.clone(),
        took: Quantiles {
            p50_us: told.p50_us as f64,
            p99_us: told.p99_us as f64,
        },
    };
    leader.stages.iter().map(stage).collect()
}
