//! Clusters whose power fails at random moments under load.

use std::time::Duration;

use anyhow::{Result, ensure};
use chv_e2e::faults::{Acknowledged, Disks, Load, PowerCut, Rounds, in_own_namespaces};
use chv_e2e::history_check::all_kept;
use chv_e2e::{Cluster, Options, PATIENCE, Replicas, contiguous, trail};
use chv_proto::client::Client;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// How many clients keep sending.
pub(crate) const SENDERS: usize = 16;

/// How often the power fails under load, before the cluster is started from what each cut left.
const CUTS: usize = 3;

#[test]
fn given_one_replica_under_load_when_its_power_fails_then_all_it_acknowledged_is_there_needs_loop()
-> Result<()> {
    power_fails_again(Replicas::One, CUTS)
}

#[test]
fn given_three_replicas_under_load_when_the_power_of_all_fails_then_all_acknowledged_is_there_needs_loop()
-> Result<()> {
    power_fails_again(Replicas::Three, CUTS - 1)
}

/// A new cluster in each round.
fn power_fails_again(replicas: Replicas, cuts: usize) -> Result<()> {
    let mut rounds = Rounds::of(1);
    while rounds.begin_another() {
        power_fails(replicas, cuts, rounds.seed().wrapping_add(rounds.begun()))?;
    }
    Ok(())
}

/// Cuts the power `cuts` times while a cluster is under load, and starts the cluster from what each cut left.
fn power_fails(replicas: Replicas, cuts: usize, seed: u64) -> Result<()> {
    in_own_namespaces(async || {
        let options = Options {
            replicas,
            ..Options::log_only()
        };
        let mut cluster = Cluster::prepare(options)?;
        // Given replicas on such disks, under load.
        let directory = cluster.directory().to_owned();
        let places = (1..=replicas.count()).map(|number| directory.join(format!("s{number}")));
        let mut disks = Disks::mount(directory.join("disks"), places.collect())?;
        let done = async {
            cluster.start().await?;
            let host = cluster.stand_in().await?;
            let alice = cluster.client("alice").await?;
            let taken = under_load(&mut cluster, &alice, &mut disks, cuts, seed).await?;
            for (acknowledged, cut) in taken {
                // When the replicas start from what a cut left.
                for number in 1..=replicas.count() {
                    cluster.scheduler(number).kill()?;
                }
                disks.put_in_place(cut)?;
                for number in 1..=replicas.count() {
                    cluster.scheduler(number).start()?;
                }
                came_back_whole(&mut cluster, &alice, &acknowledged).await?;
            }
            drop(host);
            anyhow::Ok(())
        };
        let done = done.await;
        for number in 1..=replicas.count() {
            cluster.scheduler(number).kill()?;
        }
        drop(disks);
        done.map_err(|error| cluster.with_logs(&error))
    })
}

/// What was acknowledged before each cut, and what the cut left.
async fn under_load(
    cluster: &mut Cluster,
    alice: &Client,
    disks: &mut Disks,
    cuts: usize,
    seed: u64,
) -> Result<Vec<(Vec<Acknowledged>, PowerCut)>> {
    let mut moments = StdRng::seed_from_u64(seed);
    let load = Load::start(alice, SENDERS);
    let mut taken = Vec::new();
    for _ in 0..cuts {
        let before = load.count();
        cluster
            .wait("the load goes on", PATIENCE, async || {
                let more = load.count() - before;
                ensure!(more > 100, "{more} more commands are acknowledged");
                Ok(())
            })
            .await?;
        tokio::time::sleep(Duration::from_micros(moments.random_range(0..300_000))).await;
        let acknowledged = load.acknowledged();
        taken.push((acknowledged, disks.cut()?));
    }
    Ok(taken)
}

async fn came_back_whole(cluster: &mut Cluster, alice: &Client, acknowledged: &[Acknowledged]) -> Result<()> {
    cluster.wait_for_leader().await?;
    let agreed = cluster.wait_for_agreement().await?;
    let trail = trail(alice, None).await?;
    // The stand-in may be heard meanwhile, but adds no event.
    ensure!(
        contiguous(&trail)? >= agreed.applied_seq,
        "the trail is not whole"
    );
    println!(
        "{} acknowledged, {} events are there",
        acknowledged.len(),
        trail.len()
    );
    Ok(all_kept(acknowledged, &trail)?)
}
