//! Clients of etcd: puts under keys that nobody else has, each followed by the next when it is answered.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use etcd_client::KvClient;
use tokio::task::JoinSet;

use super::shares;
use super::tally::{Tally, Window};
use crate::payload::Payloads;
use crate::plan::{Kind, Measured, Plan};

/// How long an answer may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(15);

pub(super) async fn run(plan: &Plan, url: &str, kind: Kind) -> Result<Measured> {
    ensure!(
        kind.commands_a_message() == 1,
        "etcd is not sent many puts in one message"
    );
    let mut connections = Vec::new();
    for (number, outstanding) in (0..).zip(shares(kind.outstanding())) {
        let client = etcd_client::Client::connect([url], None)
            .await
            .context("can't connect to etcd")?;
        // Names of one connection's senders are told apart by its one counter.
        let payloads = Arc::new(Mutex::new(Payloads::new(plan.number, number)?));
        connections.push((client.kv_client(), payloads, outstanding));
    }
    let window = Window::from_now(plan);
    let mut tasks = JoinSet::new();
    for (client, payloads, outstanding) in connections {
        for _ in 0..outstanding {
            tasks.spawn(put_in_turn(client.clone(), Arc::clone(&payloads), window));
        }
    }
    let tallies: Result<Vec<Tally>> = tasks.join_all().await.into_iter().collect();
    Ok(Tally::measured(tallies?, plan))
}

async fn put_in_turn(mut client: KvClient, payloads: Arc<Mutex<Payloads>>, window: Window) -> Result<Tally> {
    let mut tally = Tally::new(window);
    while !window.is_over() {
        let (payload, name) = payloads.lock().expect("nobody panics with it").next();
        let sent = Instant::now();
        let put = client.put(name, payload.to_vec(), None);
        tokio::time::timeout(PATIENCE, put)
            .await
            .with_context(|| format!("a put has no answer after {PATIENCE:?}"))?
            .context("a put fails")?;
        tally.answer(sent, 1);
    }
    Ok(tally)
}
