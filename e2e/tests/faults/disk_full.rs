//! A replica whose disk is nearly full refuses commands with the reason, answers reads, and goes on when there is room.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chv_e2e::faults::{SmallDisk, in_own_namespaces};
use chv_e2e::{Cluster, Options, PATIENCE, Replicas, contiguous, trail, vms};
use chv_proto::client::{Client, CommandError};

/// How large the disk is, in MiB: some segments of a log, and the reserve.
const SIZE_MIB: u64 = 160;

/// How long a refusal that may be over later is waited out.
const SOON: Duration = Duration::from_secs(3);

async fn create(client: &Client, name: &str, patience: Duration) -> Result<(), CommandError> {
    let create = vms::create(name, vms::tiny(), false);
    vms::submit(client, create, patience).await.map(drop)
}

/// Runs `work` on a cluster of which the replica `number` has a small disk.
fn with_a_small_disk(
    replicas: Replicas,
    number: usize,
    work: impl AsyncFnOnce(&mut Cluster, &Client, &SmallDisk) -> Result<()> + Send,
) -> Result<()> {
    in_own_namespaces(async || {
        let options = Options {
            replicas,
            ..Options::log_only()
        };
        let mut cluster = Cluster::prepare(options)?;
        let place: PathBuf = cluster.directory().join(format!("s{number}"));
        let disk = SmallDisk::mount(place, SIZE_MIB)?;
        let done = async {
            cluster.start().await?;
            let _host = cluster.stand_in().await?;
            let alice = cluster.client("alice").await?;
            work(&mut cluster, &alice, &disk).await
        };
        let done = done.await;
        cluster.scheduler(number).kill()?;
        done.map_err(|error| cluster.with_logs(&error))
    })
}

#[test]
fn given_a_full_disk_then_commands_are_refused_with_the_reason_reads_go_on_and_room_ends_it_needs_links()
-> Result<()> {
    with_a_small_disk(Replicas::One, 1, async |cluster, alice, disk| {
        create(alice, "before", PATIENCE).await?;

        // When the disk fills up.
        disk.fill()?;
        has_seen_it(cluster, 1).await?;
        let refused = create(alice, "refused", SOON).await;
        let as_full = |error: &CommandError| match error {
            CommandError::Refused(refusal) => refusal.code == "disk_full" && refusal.retryable,
            _ => false,
        };
        ensure!(refused.as_ref().is_err_and(as_full), "{refused:?}");

        // Then what is there can be read, and the replica runs.
        vms::find(alice, "before").await?.context("it is gone")?;
        ensure!(
            vms::find(alice, "refused").await?.is_none(),
            "what was refused was done"
        );
        contiguous(&trail(alice, None).await?)?;
        cluster.all_run()?;

        // And when there is room, it goes on.
        disk.make_room()?;
        create(alice, "after", PATIENCE).await?;
        Ok(())
    })
}

#[test]
fn given_a_follower_with_a_full_disk_then_commands_are_done_without_it_and_it_catches_up_needs_links()
-> Result<()> {
    with_a_small_disk(Replicas::Three, 3, async |cluster, alice, disk| {
        // Given that another one leads.
        let leader = cluster.wait_for_leader().await?;
        if leader == 3 {
            cluster.scheduler(3).kill()?;
            cluster.wait_for_leader().await?;
            cluster.scheduler(3).start()?;
        }
        cluster.wait_for_agreement().await?;

        // When its disk is full.
        disk.fill()?;
        has_seen_it(cluster, 3).await?;
        for number in 0..20 {
            create(alice, &format!("vm-{number}"), PATIENCE).await?;
        }

        // Then it runs, and when there is room, it has everything too.
        cluster.all_run()?;
        disk.make_room()?;
        cluster.wait_for_agreement().await.map(drop)
    })
}

/// Waits until a replica has seen that its disk is full.
async fn has_seen_it(cluster: &mut Cluster, number: usize) -> Result<()> {
    let log = cluster.directory().join(format!("scheduler-{number}.log"));
    let look = async || {
        let text = std::fs::read_to_string(&log)?;
        ensure!(text.contains("for want of room"), "it does not say so");
        Ok(())
    };
    cluster
        .wait("the replica says that its disk is full", PATIENCE, look)
        .await
}
