//! A stream with three replicas in files, on three nats-servers.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chv_e2e::{PATIENCE, RigDirectory, free_ports, wait_until};

use super::Running;
use crate::plan::{Nats, Target};

/// Where messages go.
pub(crate) const SUBJECT: &str = "bench.create";

const SERVERS: usize = 3;

/// How long one request to make the stream may take; it fails until the servers have found each other.
const ANSWER: Duration = Duration::from_secs(2);

/// When a server flushes its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flush {
    /// Before it acknowledges.
    Always,
    /// Every two minutes.
    Default,
}

pub(super) async fn start(parent: &Path, nats_server: &Path, flush: Flush) -> Result<Running> {
    let directory = RigDirectory::new(parent)?;
    let ports = free_ports(2 * SERVERS)?;
    let (clients, routes) = ports.split_at(SERVERS);
    let (mut programs, mut data) = (Vec::new(), Vec::new());
    for (index, (client, route)) in clients.iter().zip(routes).enumerate() {
        let name = format!("js{}", index + 1);
        let store = directory.path().join(&name);
        let file = directory.path().join(format!("{name}.conf"));
        std::fs::write(
            &file,
            configuration(&name, *client, *route, routes, &store, flush),
        )?;
        let program = directory.program(&name, nats_server.to_owned());
        let mut program = program.arg("--config").arg(file);
        program.start()?;
        programs.push(program);
        data.push(store);
    }
    let any = format!("nats://127.0.0.1:{}", clients[0]);
    let leader = wait_until("the stream has a leader", PATIENCE, async || {
        make_stream(&any).await
    })
    .await;
    // Clients on the leader's own server save the stream a hop.
    let url = leader.and_then(|leader| url_of(&leader, clients));
    let target = url.map(|url| {
        let (user, password) = (String::new(), String::new());
        Target::JetStream(Nats { url, user, password })
    });
    Running::programs(programs, &data, directory, target)
}

fn configuration(name: &str, client: u16, route: u16, routes: &[u16], store: &Path, flush: Flush) -> String {
    let routes: Vec<String> = routes
        .iter()
        .map(|port| format!("nats://127.0.0.1:{port}"))
        .collect();
    let flush = match flush {
        Flush::Always => "sync_interval: always",
        Flush::Default => "",
    };
    format!(
        "server_name: {name}
listen: 127.0.0.1:{client}
jetstream {{
  store_dir: {store:?}
  {flush}
}}
cluster {{ name: bench, listen: 127.0.0.1:{route}, routes: [{}] }}
",
        routes.join(", ")
    )
}

/// Makes the stream, and returns its leader's name.
async fn make_stream(url: &str) -> Result<String> {
    let client = async_nats::connect(url).await?;
    let wanted = serde_json::json!({
        "name": "bench", "subjects": [SUBJECT], "num_replicas": SERVERS, "storage": "file",
        "retention": "limits", "discard": "old",
        "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "max_age": 0,
    });
    let asked = client.request("$JS.API.STREAM.CREATE.bench", wanted.to_string().into());
    let answer = tokio::time::timeout(ANSWER, asked).await??;
    let answer: serde_json::Value = serde_json::from_slice(&answer.payload)?;
    ensure!(answer.get("error").is_none(), "the answer is {answer}");
    let leader = answer["cluster"]["leader"].as_str().unwrap_or_default();
    ensure!(!leader.is_empty(), "it has no leader yet");
    Ok(leader.to_owned())
}

fn url_of(leader: &str, clients: &[u16]) -> Result<String> {
    let number: usize = leader
        .trim_start_matches("js")
        .parse()
        .context("a server's name")?;
    let port = clients.get(number.wrapping_sub(1)).context("a server's number")?;
    Ok(format!("nats://127.0.0.1:{port}"))
}
