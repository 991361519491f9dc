//! Replicas in machines of their own, whose power is cut at random moments under load.

use std::time::Duration;

use anyhow::{Result, ensure};
use chv_e2e::faults::{Load, Rounds};
use chv_e2e::history_check::all_kept;
use chv_e2e::{Cluster, Machine, Options, PATIENCE, Program, Replicas, contiguous, trail, wait_until};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::cluster::SENDERS;

/// How many commands are acknowledged between two cuts, at least: emulated machines are slow.
pub(crate) const BETWEEN: usize = 50;

#[test]
fn given_a_replica_in_a_machine_under_load_when_its_power_is_cut_then_all_acknowledged_is_there_once_needs_guest()
-> Result<()> {
    power_is_cut(Replicas::One, Rounds::of(1))
}

#[test]
fn given_replicas_in_machines_under_load_when_the_power_of_all_is_cut_then_all_acknowledged_is_there_once_needs_guest()
-> Result<()> {
    power_is_cut(Replicas::Three, Rounds::of(1))
}

#[tokio::test]
async fn given_flushed_and_unflushed_writes_in_a_machine_when_its_power_is_cut_then_only_the_flushed_are_there_needs_guest()
-> Result<()> {
    // Given three files of zeros.
    let directory = tempfile::tempdir()?;
    let content = directory.path().join("content");
    std::fs::create_dir(&content)?;
    for name in ["flushed", "sent", "written"] {
        std::fs::write(content.join(name), [0; 4096])?;
    }
    let machine = Machine::alone(directory.path(), &content)?;

    // When ones are written over all, and the power is cut before all are flushed.
    let mut writes = machine.runs("probe-write")?;
    says(&mut writes, "probe: cut now").await?;
    writes.kill()?;
    machine.after_cut()?;

    // Then those are there that were flushed, and neither what the kernel had nor what its disk had.
    let mut shows = machine.runs("probe-show")?;
    says(&mut shows, "probe: all shown").await?;
    for line in ["probe: flushed=1", "probe: sent=0", "probe: written=0"] {
        ensure!(shows.tail().contains(line), "{}", shows.tail());
    }
    Ok(())
}

async fn says(program: &mut Program, words: &str) -> Result<()> {
    program.start()?;
    wait_until(&format!("the machine says {words:?}"), PATIENCE, async || {
        ensure!(program.tail().contains(words), "{}", program.tail());
        Ok(())
    })
    .await
}

#[tokio::main]
async fn power_is_cut(replicas: Replicas, mut rounds: Rounds) -> Result<()> {
    let mut moments = StdRng::seed_from_u64(rounds.seed());
    let options = Options {
        replicas,
        machines: true,
        ..Options::log_only()
    };
    Cluster::run(options, async |cluster| {
        // Given replicas in machines, under load from clients that send again what was not answered.
        let _host = cluster.stand_in().await?;
        let alice = cluster.client("alice").await?;
        let load = Load::start(&alice, SENDERS);
        while rounds.begin_another() {
            load.goes_on(cluster, BETWEEN).await?;
            tokio::time::sleep(Duration::from_micros(moments.random_range(0..300_000))).await;

            // When the power is cut, and comes back.
            for number in 1..=replicas.count() {
                cluster.cut_power(number)?;
            }
            let acknowledged = load.acknowledged();
            for number in 1..=replicas.count() {
                cluster.scheduler(number).start()?;
            }

            // Then all that was acknowledged is there, once, and the cluster goes on.
            cluster.wait_for_leader().await?;
            load.goes_on(cluster, BETWEEN).await?;
            let trail = trail(&alice, None).await?;
            contiguous(&trail)?;
            println!(
                "{} acknowledged, {} events are there",
                acknowledged.len(),
                trail.len()
            );
            all_kept(&acknowledged, &trail)?;
        }
        drop(load);
        cluster.wait_for_agreement().await.map(drop)
    })
    .await
}
