//! Replicas in machines whose disk loses writes from a moment on under load: it says that it has them, or refuses them.

use std::time::Duration;

use anyhow::{Result, ensure};
use chv_e2e::faults::{Load, Loss, Rounds, Switch};
use chv_e2e::history_check::all_kept;
use chv_e2e::{Cluster, Options, PATIENCE, Replicas, contiguous, trail, wait_until};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::cluster::SENDERS;
use crate::machines::BETWEEN;

/// How many more commands a disk that drops writes is to be told of, and to lose.
const LOST: usize = 20;

/// For how long nothing is acknowledged once nothing can be.
const SILENCE: Duration = Duration::from_secs(2);

#[test]
fn given_a_replica_in_a_machine_when_its_disk_drops_writes_and_flushes_then_what_was_acknowledged_before_is_there_needs_guest()
-> Result<()> {
    disk_loses(Loss::Dropped)
}

#[test]
fn given_a_replica_in_a_machine_when_its_disk_refuses_writes_then_only_what_is_there_was_acknowledged_needs_guest()
-> Result<()> {
    disk_loses(Loss::Refused)
}

#[tokio::main]
async fn disk_loses(loss: Loss) -> Result<()> {
    let mut rounds = Rounds::of(1);
    let mut moments = StdRng::seed_from_u64(rounds.seed());
    while rounds.begin_another() {
        round(loss, Duration::from_micros(moments.random_range(0..300_000))).await?;
    }
    Ok(())
}

/// A machine's disk is switched once, so each round has a new one.
async fn round(loss: Loss, moment: Duration) -> Result<()> {
    let switch = Switch::to(loss).await?;
    let options = Options {
        replicas: Replicas::One,
        machines: true,
        loses: Some(switch.loses()),
        ..Options::log_only()
    };
    Cluster::run(options, async |cluster| {
        // Given a replica in a machine, under load.
        let _host = cluster.stand_in().await?;
        let alice = cluster.client("alice").await?;
        let load = Load::start(&alice, SENDERS);
        load.goes_on(cluster, BETWEEN).await?;
        tokio::time::sleep(moment).await;

        // When its disk loses all writes from some moment on, and then the power,
        let before = load.acknowledged();
        switch.flip().await?;
        match loss {
            Loss::Dropped => load.goes_on(cluster, LOST).await?,
            Loss::Refused => falls_silent(&load).await?,
        }
        cluster.cut_power(1)?;
        let after = load.acknowledged();
        cluster.scheduler(1).start()?;

        // then all is there that was acknowledged before that moment, and the replica goes on;
        cluster.wait_for_leader().await?;
        load.goes_on(cluster, BETWEEN).await?;
        let trail = trail(&alice, None).await?;
        contiguous(&trail)?;
        println!(
            "{} acknowledged before, {} in all, {} events are there",
            before.len(),
            after.len(),
            trail.len()
        );
        all_kept(&before, &trail)?;
        match loss {
            // what was flushed to nowhere is gone: the disk did lose it;
            Loss::Dropped => ensure!(all_kept(&after, &trail).is_err(), "the disk lost nothing"),
            // and nothing was acknowledged whose flush failed.
            Loss::Refused => all_kept(&after, &trail)?,
        }
        drop(load);
        cluster.wait_for_agreement().await.map(drop)
    })
    .await
}

/// Waits until nothing is acknowledged any more. The replica may have ended by then.
async fn falls_silent(load: &Load) -> Result<()> {
    wait_until("nothing is acknowledged", PATIENCE, async || {
        let known = load.count();
        tokio::time::sleep(SILENCE).await;
        let more = load.count() - known;
        ensure!(more == 0, "{more} more commands are acknowledged");
        Ok(())
    })
    .await
}
