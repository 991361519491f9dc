//! A replica whose file system turns read-only ends and says why; the others go on. It does not start there either.

use anyhow::{Context, Result, ensure};
use chv_e2e::faults::{FailingDisk, in_own_namespaces};
use chv_e2e::{Cluster, Options, PATIENCE, contiguous, trail, vms, wait_until};

/// What it says when it is started there.
const REFUSAL: &str = "is on a file system that is read-only";

#[test]
fn given_a_disk_that_turns_read_only_then_its_replica_ends_with_the_reason_and_the_others_go_on_needs_loop()
-> Result<()> {
    in_own_namespaces(async || {
        let mut cluster = Cluster::prepare(Options::log_only())?;
        let disk = FailingDisk::mount(cluster.directory().join("s1"))?;
        let done = async {
            cluster.start().await?;
            let _host = cluster.stand_in().await?;
            let alice = cluster.client("alice").await?;
            let create = async |name: &str| {
                let create = vms::create(name, vms::tiny(), false);
                vms::submit(&alice, create, PATIENCE).await.map(drop)
            };
            create("before").await?;

            // When the file system under one of them turns read-only.
            disk.fail()?;

            // Then commands are done all the same, and that replica ends and says why.
            create("meanwhile").await?;
            ends(&mut cluster, "Read-only file system").await?;
            cluster.wait_for_leader().await?;
            create("after").await?;
            contiguous(&trail(&alice, None).await?)?;

            // And started there, it says what is wrong.
            cluster.scheduler(1).start()?;
            ends(&mut cluster, REFUSAL).await
        };
        let done = done.await;
        cluster.scheduler(1).kill()?;
        drop(disk);
        done.map_err(|error| cluster.with_logs(&error))
    })
}

async fn ends(cluster: &mut Cluster, words: &str) -> Result<()> {
    let replica = cluster.scheduler(1);
    let status = wait_until("the replica ends", PATIENCE, async || {
        replica.ended()?.context("it runs")
    });
    let status = status.await?;
    ensure!(!status.success(), "it ended as if all were well");
    // What has ended is not expected to run.
    replica.kill()?;
    ensure!(replica.tail().contains(words), "it doesn't say {words:?}");
    Ok(())
}
