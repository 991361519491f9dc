//! A broker, three replicas with their default configuration, and a host that VMs are placed on and that runs none.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use chv_e2e::{Cluster, Options, Peering, StandIn};
use chv_proto::client::Client;
use chv_proto::v1::ReplicaStatus;

use super::{Owner, Running, Server};
use crate::payload::USER;
use crate::plan::{Nats, Target};

const REPLICAS: usize = 3;

/// How long replicas may take to say how they are; under load they answer when they come to it.
const ANSWER: Duration = Duration::from_secs(5);

/// The cluster.
pub(super) struct Chronovisor {
    client: Client,
    _host: StandIn,
    cluster: Cluster,
}

pub(super) async fn start(parent: &Path, nats_server: &Path, peering: Peering) -> Result<Running> {
    let mut cluster = Cluster::prepare(Options {
        nats_server: Some(nats_server.to_owned()),
        parent: Some(parent.to_owned()),
        peering,
        ..Options::log_only()
    })?;
    let started = async {
        cluster.start().await?;
        cluster.stand_in().await
    };
    let host = started.await.map_err(|error| cluster.with_logs(&error))?;
    let client = cluster.client(USER).await?;
    let nats = Nats {
        url: cluster.nats_url().to_owned(),
        user: USER.to_owned(),
        password: cluster.password(USER)?,
    };
    let servers = servers(&mut cluster).await?;
    Ok(Running {
        target: Target::Chronovisor(nats),
        servers,
        owner: Owner::Chronovisor(Box::new(Chronovisor {
            client,
            _host: host,
            cluster,
        })),
    })
}

async fn servers(cluster: &mut Cluster) -> Result<Vec<Server>> {
    let broker = cluster.nats().pid().context("it was started")?;
    let mut servers = vec![Server {
        name: "nats-server".to_owned(),
        pid: broker,
        data: None,
    }];
    let leader = cluster.leader().await?;
    for number in 1..=REPLICAS {
        let leads = if number == leader { " (leads)" } else { "" };
        servers.push(Server {
            name: format!("scheduler-{number}{leads}"),
            pid: cluster.scheduler(number).pid().context("it was started")?,
            data: Some(cluster.directory().join(format!("s{number}"))),
        });
    }
    Ok(servers)
}

impl Chronovisor {
    pub(super) async fn status(&self) -> Result<Vec<ReplicaStatus>> {
        Ok(self.client.status_of_each(ANSWER, false).await?)
    }

    pub(super) fn with_logs(&self, error: &anyhow::Error) -> anyhow::Error {
        self.cluster.with_logs(error)
    }
}
