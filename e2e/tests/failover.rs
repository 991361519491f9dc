//! The leader is lost under load, and commands are acknowledged again soon. The figures themselves are taken by `make
//! bench-failover`, alone on a machine; here the bound is loose, since other tests run meanwhile.

use std::time::Duration;

use anyhow::{Result, ensure};
use chv_e2e::failover::{Failover, Loss};

/// Several elections in a row that each fail would take longer.
const SOON: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread")]
async fn given_load_when_the_leader_is_killed_then_commands_are_acknowledged_again_soon() -> Result<()> {
    let took = Failover::measure(Loss::Kill, 3, |round, took| println!("kill {round}: {took:?}")).await?;
    ensure!(took.iter().all(|took| *took < SOON), "it took {took:?}");
    Ok(())
}
