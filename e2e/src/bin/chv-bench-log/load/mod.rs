//! The clients, in a process of their own: they do one plan and tell what they measured.

mod etcd;
mod nats;
mod open;
mod tally;

use std::io::Read;

use anyhow::{Context, Result, bail};

use crate::plan::{Measured, Plan, Target, Work};

/// Over how many connections more than one client's messages go: several clients share one, as the processes of a
/// machine that sends much would.
const CONNECTIONS: u32 = 4;

/// Does the plan that comes on the standard input.
pub(crate) async fn run() -> Result<()> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let plan: Plan = serde_json::from_str(&text).context("that is no plan")?;
    let measured = follow(&plan).await?;
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

async fn follow(plan: &Plan) -> Result<Measured> {
    match (&plan.target, plan.work) {
        (Target::Chronovisor(nats), Work::Closed(kind)) => {
            nats::run(plan, nats, nats::Service::Chronovisor, kind).await
        }
        (Target::JetStream(nats), Work::Closed(kind)) => {
            nats::run(plan, nats, nats::Service::JetStream, kind).await
        }
        (Target::Etcd(url), Work::Closed(kind)) => etcd::run(plan, url, kind).await,
        (Target::Chronovisor(nats), Work::Open { per_second }) => open::run(plan, nats, per_second).await,
        (_, Work::Open { .. }) => bail!("only Chronovisor's subscribers are measured"),
    }
}

/// How many of the unanswered messages each connection has.
fn shares(outstanding: u32) -> Vec<u32> {
    let connections = CONNECTIONS.min(outstanding);
    (0..connections)
        .map(|index| outstanding / connections + u32::from(index < outstanding % connections))
        .collect()
}
