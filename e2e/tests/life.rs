//! What can be done with a VM that runs, on a booted guest that confirms it from the inside.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use chv_e2e::{Cluster, Options, PATIENCE, trail, vms};
use chv_proto::client::Client;
use chv_proto::v1;

/// A guest that is asked on its console.
struct Console<'a> {
    client: &'a Client,
    vm: String,
}

impl Console<'_> {
    /// All that it has said.
    async fn said(&self) -> Result<String> {
        let read = v1::ConsoleRead {
            vm: self.vm.clone(),
            tail: Some(1 << 16),
            ..v1::ConsoleRead::default()
        };
        let chunk = self.client.console_read(&"h1".parse()?, read).await?;
        Ok(String::from_utf8_lossy(&chunk.data).into_owned())
    }

    async fn types(&self, line: &str) -> Result<()> {
        let write = v1::ConsoleWrite {
            vm: self.vm.clone(),
            data: format!("{line}\n").into_bytes(),
        };
        let written = self.client.console_write(&"h1".parse()?, write).await?;
        ensure!(written.refused.is_none(), "{written:?}");
        Ok(())
    }

    /// How long it has been up by its own clock, and when it said so.
    async fn uptime(&self, cluster: &mut Cluster) -> Result<(Duration, Instant)> {
        let before = self.said().await?.matches("up ").count();
        self.types("uptime").await?;
        let up = cluster.wait("the guest says how long it is up", PATIENCE, async || {
            let said = self.said().await?;
            let up: Vec<&str> = said.split("chv-uos: up ").skip(1).collect();
            let newest = up.last().filter(|_| said.matches("up ").count() > before);
            let seconds = newest.and_then(|rest| rest.split(' ').next());
            let seconds = seconds.ok_or_else(|| anyhow!("no answer in {said:?}"))?;
            Ok(Duration::from_secs_f64(seconds.parse()?))
        });
        Ok((up.await?, Instant::now()))
    }
}

async fn kinds(client: &Client) -> Result<Vec<String>> {
    let events = trail(client, Some(&vms::named("web"))).await?;
    Ok(events.into_iter().map(|event| event.kind).collect())
}

/// Waits until the trail ends so.
async fn ends_with(cluster: &mut Cluster, client: &Client, wanted: &[&str]) -> Result<()> {
    cluster
        .wait(&format!("the trail ends with {wanted:?}"), PATIENCE, async || {
            let kinds = kinds(client).await?;
            match kinds.ends_with(&wanted.iter().map(ToString::to_string).collect::<Vec<_>>()) {
                true => Ok(()),
                false => Err(anyhow!("it is {kinds:?}")),
            }
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_is_held_runs_on_is_reset_and_reboots_and_each_is_done_once_needs_guest() -> Result<()> {
    Cluster::run(Options::emulated(1), async |cluster| {
        let client = cluster.client("alice").await?;
        vms::submit(&client, vms::create("web", vms::uos(), true), PATIENCE).await?;
        let first = cluster.wait_for_status("web", "ready").await?;
        let vm = first.id.clone();
        let console = Console { client: &client, vm };

        // When it is paused, then its time stands still until it is resumed, and its process is the same.
        let (up, then) = console.uptime(cluster).await?;
        cluster.chv(&["vm", "pause", "web"]).await?.done()?;
        let held = Instant::now();
        let paused = cluster.chv(&["vm", "get", "web", "-o", "json"]).await?.done()?;
        ensure!(paused.json()?["status"] == "paused", "{paused:?}");
        // What can't be done with what is held is refused, with what to do.
        let refused = cluster.chv(&["vm", "reboot", "web"]).await?.exited_with(3)?;
        ensure!(refused.stderr.contains("resume it first"), "{refused:?}");
        // A daemon that is killed meanwhile finds it held, and leaves it so.
        cluster.host("h1")?.kill()?;
        cluster.host("h1")?.start()?;
        ends_with(cluster, &client, &["pause-requested", "paused", "adopted"]).await?;
        cluster.wait_for_status("web", "paused").await?;
        let held = held.elapsed();
        cluster.chv(&["vm", "resume", "web"]).await?.done()?;
        let resumed = cluster.wait_for_status("web", "ready").await?;
        ensure!(resumed.pid == first.pid, "it is another process");
        let (later, now) = console.uptime(cluster).await?;
        let (by_the_guest, by_us) = (later.checked_sub(up).context("it has rebooted")?, now - then);
        ensure!(
            by_the_guest + held <= by_us + Duration::from_millis(200),
            "held for {held:?}, and its clock went on for {by_the_guest:?} of {by_us:?}"
        );

        // When it is reset, then it boots anew in the process that it has.
        let ordered = Instant::now();
        cluster
            .chv(&["vm", "reset", "web", "--for", "ready"])
            .await?
            .done()?;
        let reset = cluster.wait_for_status("web", "ready").await?;
        ensure!(reset.pid == first.pid, "it is another process");
        ends_with(cluster, &client, &["reboot-requested", "rebooted", "ready"]).await?;
        let (up, now) = console.uptime(cluster).await?;
        ensure!(up < now - ordered, "it is up {up:?}, since before it was reset");

        // When its daemon is killed right after a reboot was ordered, then the next one carries it out, once.
        let reboot = cluster.chv(&["vm", "reboot", "web", "--no-wait"]).await?.done()?;
        cluster.host("h1")?.kill()?;
        ensure!(reboot.stdout.contains("rebooting"), "{reboot:?}");
        cluster.host("h1")?.start()?;
        ends_with(cluster, &client, &["exited", "started", "ready"]).await?;
        let rebooted = cluster.wait_for_status("web", "ready").await?;
        ensure!(rebooted.pid != first.pid, "it is the same process");
        ensure!(rebooted.exit.is_empty(), "{rebooted:?}");

        // And nothing of it happened twice.
        let kinds = kinds(&client).await?;
        let count = |kind: &str| kinds.iter().filter(|one| *one == kind).count();
        ensure!(
            (count("started"), count("exited"), count("rebooted")) == (2, 1, 1),
            "{kinds:?}"
        );

        // When it is renamed, labelled and protected, then its guest is not touched.
        for change in [
            vec!["label", "web", "tier=front"],
            vec!["annotate", "web", "contact=ops, extension 12"],
            vec!["protect", "web"],
            vec!["rename", "web", "shop"],
        ] {
            let args: Vec<&str> = ["vm"].into_iter().chain(change).collect();
            cluster.chv(&args).await?.done()?;
        }
        let shop = cluster.chv(&["vm", "get", "shop", "-o", "json"]).await?.done()?;
        let shop = shop.json()?;
        ensure!(
            shop["labels"]["tier"] == "front" && shop["annotations"]["contact"] == "ops, extension 12",
            "{shop}"
        );
        ensure!(shop["pid"] == rebooted.pid && shop["protected"] == true, "{shop}");
        let refused = cluster
            .chv(&["vm", "delete", "shop", "--force"])
            .await?
            .exited_with(3)?;
        ensure!(refused.stderr.contains("chv vm unprotect shop"), "{refused:?}");
        cluster.chv(&["vm", "unprotect", "shop"]).await?.done()?;
        cluster.chv(&["vm", "rename", "shop", "web"]).await?.done()?;

        cluster.chv(&["vm", "pause", "web"]).await?.done()?;
        // What is held is let run on so that it can power off.
        cluster.chv(&["vm", "stop", "web"]).await?.done()?;
        let stopped = cluster.wait_for_status("web", "stopped").await?;
        ensure!(stopped.exit == "powered off", "{stopped:?}");
        Ok(())
    })
    .await
}
