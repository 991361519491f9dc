//! Three etcd servers, as they come.

use std::path::Path;

use anyhow::{Context, Result, bail};
use chv_e2e::{PATIENCE, RigDirectory, free_ports, wait_until};

use super::Running;
use crate::plan::Target;

const SERVERS: usize = 3;

/// Where Debian puts it.
const PROGRAM: &str = "/usr/bin/etcd";

pub(super) async fn start(parent: &Path) -> Result<Running> {
    let directory = RigDirectory::new(parent)?;
    let ports = free_ports(2 * SERVERS)?;
    let (clients, peers) = ports.split_at(SERVERS);
    let url = |port: &u16| format!("http://127.0.0.1:{port}");
    let members: Vec<String> = (1..)
        .zip(peers)
        .map(|(number, port)| format!("etcd{number}={}", url(port)))
        .collect();
    let (mut programs, mut data) = (Vec::new(), Vec::new());
    for (index, (client, peer)) in clients.iter().zip(peers).enumerate() {
        let name = format!("etcd{}", index + 1);
        let store = directory.path().join(&name);
        let mut program = directory
            .program(&name, PROGRAM.into())
            .args(["--name", &name])
            .arg("--data-dir")
            .arg(&store)
            .args(["--listen-client-urls", &url(client)])
            .args(["--advertise-client-urls", &url(client)])
            .args(["--listen-peer-urls", &url(peer)])
            .args(["--initial-advertise-peer-urls", &url(peer)])
            .args(["--initial-cluster", &members.join(",")])
            .args(["--initial-cluster-state", "new"])
            .args(["--log-level", "error"]);
        program.start()?;
        programs.push(program);
        data.push(store);
    }
    let urls: Vec<String> = clients.iter().map(url).collect();
    let leader = wait_until("etcd has a leader", PATIENCE, async || leader(&urls).await).await;
    Running::programs(programs, &data, directory, leader.map(Target::Etcd))
}

/// The URL of the server that leads: clients there save etcd a hop.
async fn leader(urls: &[String]) -> Result<String> {
    for url in urls {
        let mut client = etcd_client::Client::connect([url], None).await?;
        let status = client.status().await?;
        let own = status.header().context("etcd says who answers")?.member_id();
        if status.leader() == own {
            return Ok(url.clone());
        }
    }
    bail!("none leads yet")
}
