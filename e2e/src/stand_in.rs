//! A host that only says it is there: VMs are placed on it and never run. For tests of the log, which need no guest.

use std::time::Duration;

use anyhow::{Context, Result};
use chv_domain::{
    Actor, Capacity, Command, HostFacts, HostId, HostName, HypervisorFacts, HypervisorKind, Submission,
};
use chv_proto::client::{Client, new_command_id};
use chv_proto::v1;
use tokio_util::task::AbortOnDropHandle;

use crate::cluster::{Cluster, PATIENCE};
use crate::wait::wait_until;

/// Its name.
pub(crate) const NAME: &str = "stand-in";

/// Between two heartbeats: several before a replica takes it for dead.
const BEAT: Duration = Duration::from_millis(500);

/// How long one heartbeat is tried.
const BEAT_PATIENCE: Duration = Duration::from_secs(1);

/// The stand-in, alive for as long as this value is.
#[derive(Debug)]
pub struct StandIn {
    _beats: AbortOnDropHandle<()>,
}

impl Cluster {
    /// Registers the stand-in, which [`Options::stand_in`](crate::Options) asked for, and keeps it alive; returns when
    /// VMs can be placed on it.
    ///
    /// # Errors
    /// When nobody takes its registration in time.
    pub async fn stand_in(&self) -> Result<StandIn> {
        let client = self.client(&format!("host-{NAME}")).await?;
        let name: HostName = NAME.parse().context("a host's name")?;
        let id = HostId::from_ulid(new_command_id().ulid());
        let registration = Submission::new(
            new_command_id(),
            Actor::Host(name.clone()),
            Command::RegisterHost {
                host: id,
                facts: facts(),
            },
        );
        client.submit(&registration, PATIENCE, None).await?;
        let beats = AbortOnDropHandle::new(tokio::spawn(beat(client, name, id)));
        let alice = self.client("alice").await?;
        wait_until("the stand-in counts as alive", PATIENCE, async || {
            let hosts = crate::state::hosts(&alice).await?;
            hosts
                .iter()
                .find(|host| host.alive)
                .map(drop)
                .context("it does not")
        })
        .await?;
        Ok(StandIn { _beats: beats })
    }
}

/// What it says of itself: room for more VMs than any test makes.
pub fn facts() -> HostFacts {
    HostFacts {
        capacity: Capacity {
            vcpus: 1 << 20,
            memory_mib: 1 << 30,
        },
        hypervisors: vec![HypervisorFacts {
            kind: HypervisorKind::QemuTcg,
            version: "0".to_owned(),
        }],
        daemon: "stand-in".to_owned(),
        missing: Vec::new(),
    }
}

async fn beat(client: Client, name: HostName, id: HostId) {
    let heartbeat = v1::Heartbeat {
        host: id.to_string(),
        feed: 0,
        version: chv_proto::convert::VERSION,
    };
    loop {
        // Without a leader there is nobody to answer; every replica hears it all the same.
        let _ = client.heartbeat(&name, heartbeat.clone(), BEAT_PATIENCE).await;
        tokio::time::sleep(BEAT).await;
    }
}
