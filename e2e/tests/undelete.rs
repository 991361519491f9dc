//! VMs that are deleted, and come back or don't.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chv_e2e::{Cluster, Options, PATIENCE, vms};

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_vm_comes_back_with_all_that_it_had_or_is_removed_when_its_time_is_over_needs_guest()
-> Result<()> {
    Cluster::run(Options::emulated(1), async |cluster| {
        let client = cluster.client("alice").await?;
        for name in ["web", "gone"] {
            vms::submit(&client, vms::create(name, vms::tiny(), true), PATIENCE).await?;
        }
        let web = cluster.wait_for_status("web", "running").await?;
        let gone = cluster.wait_for_status("gone", "running").await?;
        let directory = cluster.directory().join("h1/vms");

        // When they are deleted, then neither runs, their names are free, and what they had is there.
        cluster.chv(&["vm", "delete", "web", "--force"]).await?.done()?;
        cluster
            .chv(&["vm", "delete", "gone", "--force", "--keep", "3s"])
            .await?
            .done()?;
        ensure!(cluster.guests().is_empty(), "a deleted VM runs");
        ensure!(directory.join(&web.id).exists(), "its directory is gone");
        let listed = cluster.chv(&["vm", "list"]).await?.done()?;
        ensure!(!listed.stdout.contains("web"), "{listed:?}");
        let deleted = cluster.chv(&["vm", "list", "--deleted"]).await?.done()?;
        ensure!(deleted.stdout.contains("web"), "{deleted:?}");
        let refused = cluster.chv(&["vm", "start", "web"]).await?.exited_with(3)?;
        ensure!(refused.stderr.contains("undelete it first"), "{refused:?}");

        // When another one has its name, then it comes back under another, where it was, and runs when it is started.
        vms::submit(&client, vms::create("web", vms::tiny(), false), PATIENCE).await?;
        let taken = cluster.chv(&["vm", "undelete", &web.id]).await?.exited_with(4)?;
        ensure!(taken.stderr.contains("--name"), "{taken:?}");
        cluster
            .chv(&["vm", "undelete", &web.id, "--name", "shop"])
            .await?
            .done()?;
        cluster.chv(&["vm", "start", "shop"]).await?.done()?;
        let shop = cluster.wait_for_status("shop", "running").await?;
        ensure!((&shop.id, &shop.host) == (&web.id, &web.host), "{shop:?}");

        // When a time is over, then nothing is left of that one.
        cluster
            .wait("it is removed", PATIENCE + Duration::from_secs(3), async || {
                let left = directory.join(&gone.id).exists();
                (!left).then_some(()).context("its directory is there")
            })
            .await?;
        cluster.chv(&["vm", "get", &gone.id]).await?.exited_with(5)?;
        Ok(())
    })
    .await
}
