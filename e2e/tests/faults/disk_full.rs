//! Replicas whose disks are nearly full: as long as others have room commands are done, and otherwise refused with the
//! reason; reads are answered, and when there is room all goes on.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use chv_e2e::faults::{SmallDisk, in_own_namespaces};
use chv_e2e::{Cluster, Options, PATIENCE, Replicas, contiguous, trail, vms, wait_until};
use chv_proto::client::{Client, CommandError, Refusal};

/// How large the disk is, in MiB: some segments of a log, and the reserve.
const SIZE_MIB: u64 = 160;

/// How long a refusal that may be over later is waited out.
const SOON: Duration = Duration::from_secs(3);

async fn create(client: &Client, name: &str, patience: Duration) -> Result<(), CommandError> {
    let create = vms::create(name, vms::tiny(), false);
    vms::submit(client, create, patience).await.map(drop)
}

/// Runs `work` on a cluster whose replicas have small disks.
fn with_small_disks(
    replicas: Replicas,
    work: impl AsyncFnOnce(&mut Cluster, &Client, &[SmallDisk]) -> Result<()> + Send,
) -> Result<()> {
    in_own_namespaces(async || {
        let count = replicas.count();
        let options = Options {
            replicas,
            ..Options::log_only()
        };
        let mut cluster = Cluster::prepare(options)?;
        let disk = |number| SmallDisk::mount(cluster.directory().join(format!("s{number}")), SIZE_MIB);
        let disks = (1..=count).map(disk).collect::<Result<Vec<_>>>()?;
        let done = async {
            cluster.start().await?;
            let _host = cluster.stand_in().await?;
            let alice = cluster.client("alice").await?;
            work(&mut cluster, &alice, &disks).await
        };
        let done = done.await;
        for number in 1..=count {
            cluster.scheduler(number).kill()?;
        }
        done.map_err(|error| cluster.with_logs(&error))
    })
}

#[test]
fn given_a_full_disk_then_commands_are_refused_with_the_reason_reads_go_on_and_room_ends_it_needs_links()
-> Result<()> {
    with_small_disks(Replicas::One, async |cluster, alice, disks| {
        create(alice, "before", PATIENCE).await?;

        // When the disk fills up.
        disks[0].fill()?;
        has_seen_it(cluster, 1).await?;
        let refusal = refused_as_full(alice).await?;
        ensure!(refusal.message.contains("replica 1:"), "{refusal:?}");

        // Then what is there can be read, and the replica runs.
        vms::find(alice, "before").await?.context("it is gone")?;
        ensure!(
            vms::find(alice, "refused").await?.is_none(),
            "what was refused was done"
        );
        contiguous(&trail(alice, None).await?)?;
        cluster.all_run()?;

        // And when there is room, it goes on.
        disks[0].make_room()?;
        create(alice, "after", PATIENCE).await?;
        Ok(())
    })
}

#[test]
fn given_a_follower_with_a_full_disk_then_commands_are_done_without_it_and_it_catches_up_needs_links()
-> Result<()> {
    with_small_disks(Replicas::Three, async |cluster, alice, disks| {
        let leader = cluster.wait_for_leader().await?;
        let follower = 1 + leader % 3;
        cluster.wait_for_agreement().await?;

        // When the disk of a follower is full.
        disks[follower - 1].fill()?;
        has_seen_it(cluster, follower).await?;
        for number in 0..20 {
            create(alice, &format!("vm-{number}"), PATIENCE).await?;
        }

        // Then it runs, and when there is room, it has everything too.
        cluster.all_run()?;
        disks[follower - 1].make_room()?;
        cluster.wait_for_agreement().await.map(drop)
    })
}

#[test]
fn given_a_leader_with_a_full_disk_then_another_leads_and_with_two_full_commands_are_refused_with_both_needs_links()
-> Result<()> {
    with_small_disks(Replicas::Three, async |cluster, alice, disks| {
        create(alice, "before", PATIENCE).await?;
        let first = cluster.wait_for_leader().await?;

        // When the leader's disk is full, then one leads that has room.
        disks[first - 1].fill()?;
        has_seen_it(cluster, first).await?;
        let another = async || {
            let leader = cluster.leader().await?;
            ensure!(leader != first, "it still leads");
            Ok::<_, anyhow::Error>(leader)
        };
        let leader = wait_until("another replica leads", PATIENCE, another).await?;
        create(alice, "meanwhile", PATIENCE).await?;

        // When a second one's is full, then commands are refused, and both are named,
        let follower = 6 - first - leader;
        disks[follower - 1].fill()?;
        has_seen_it(cluster, follower).await?;
        let refusal = refused_as_full(alice).await?;
        let names = |number: usize| refusal.message.contains(&format!("replica {number}:"));
        ensure!(names(first) && names(follower) && !names(leader), "{refusal:?}");
        // also after some time, and what is there can be read.
        vms::find(alice, "meanwhile").await?.context("it is gone")?;

        // And when one has room, it goes on.
        disks[follower - 1].make_room()?;
        create(alice, "after", PATIENCE).await?;
        disks[first - 1].make_room()?;
        cluster.wait_for_agreement().await?;
        cluster.all_run()
    })
}

#[test]
fn given_a_full_disk_and_history_that_is_kept_for_some_time_then_what_is_older_is_forgotten_needs_links()
-> Result<()> {
    with_small_disks(Replicas::One, async |cluster, alice, disks| {
        // Given a cluster that keeps some seconds of history, and in which things go on until some of it is forgotten,
        let mut rounds = 0_u32;
        while oldest(cluster).await? <= 3 {
            rounds += 1;
            ensure!(rounds < 600, "nothing is forgotten");
            // Each other setting is an event.
            let size = format!("{}GiB", 20 + rounds % 2);
            let keep = [
                "cluster",
                "set-retention",
                "--keep-for",
                "4s",
                "--keep-size",
                &size,
            ];
            cluster.chv(&keep).await?.done()?;
        }

        // when its disk fills up,
        disks[0].fill()?;
        has_seen_it(cluster, 1).await?;
        let before = oldest(cluster).await?;

        // then it still forgets, and nothing else is recorded.
        wait_until("more is forgotten", PATIENCE, async || {
            let now = oldest(cluster).await?;
            ensure!(now > before, "events from {now} on are kept, as before");
            Ok(())
        })
        .await?;
        refused_as_full(alice).await.map(drop)
    })
}

/// The first event that is kept, as the cluster says.
async fn oldest(cluster: &Cluster) -> Result<u64> {
    let shown = cluster.chv(&["cluster", "get", "-o", "json"]).await?.done()?;
    Ok(shown.json()?["oldestSeq"].as_u64().unwrap_or(0))
}

/// Waits until commands are refused because of full disks.
async fn refused_as_full(client: &Client) -> Result<Refusal> {
    wait_until("commands are refused", PATIENCE, async || {
        match create(client, "refused", SOON).await {
            Err(CommandError::Refused(refusal)) if refusal.code == "disk_full" && refusal.retryable => {
                Ok(refusal)
            }
            other => Err(anyhow!("{other:?}")),
        }
    })
    .await
}

/// Waits until a replica has seen that its disk is full.
async fn has_seen_it(cluster: &mut Cluster, number: usize) -> Result<()> {
    let log = cluster.directory().join(format!("scheduler-{number}.log"));
    let look = async || {
        let text = std::fs::read_to_string(&log)?;
        ensure!(
            text.contains("no commands are taken") && text.contains("bytes are free"),
            "it does not say so"
        );
        Ok(())
    };
    cluster
        .wait("the replica says that its disk is full", PATIENCE, look)
        .await
}
