//! A replica's word about itself.

use std::time::Duration;

use chv_domain::Projection;
use chv_eventlog::StageTiming;
use chv_proto::v1;

use super::{Reader, cluster};

pub(super) async fn get(reader: &Reader, state: Projection, query: v1::GetStatus) -> v1::ReplicaStatus {
    let log = reader.log.status();
    let hosts_alive = reader.alive(&state).len() as u64;
    let (vms, hosts) = (state.vm_count() as u64, state.hosts_by_name().count() as u64);
    let (applied_seq, replicas) = (state.seq().0, cluster::replicas(reader, &state));
    // The whole state is encoded and hashed: off the async threads.
    let digest = match query.digest {
        true => tokio::task::spawn_blocking(move || state.digest()).await.ok(),
        false => None,
    };
    v1::ReplicaStatus {
        cluster: reader.cluster.to_string(),
        replica: reader.replica.get(),
        role: log.role.as_str().to_owned(),
        term: log.term.0,
        leader: log.leader.map_or(0, chv_domain::ReplicaId::get),
        applied_seq,
        last_log_index: log.last_log_index,
        applied_index: log.applied_index,
        replicas,
        vms,
        hosts,
        digest: digest.map(|digest| digest.0.to_vec()).unwrap_or_default(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        hosts_alive,
        index: log.index.state.as_str().to_owned(),
        index_seq: log.index.seq.0,
        index_verified_seq: log.index.verified.0,
        index_rebuilt: log.index.rebuilt,
        stages: reader.log.timings().told().into_iter().map(stage).collect(),
    }
}

fn stage(told: StageTiming) -> v1::StageTiming {
    let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    v1::StageTiming {
        stage: told.stage.as_str().to_owned(),
        commands: told.commands,
        p50_us: micros(told.p50),
        p99_us: micros(told.p99),
    }
}
