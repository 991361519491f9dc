//! A running cluster is backed up under load while a replica dies, and restored as a new one.

use std::collections::BTreeMap;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use chv_e2e::{Cluster, Options, PATIENCE, Peering, find_program, free_ports, vms};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

/// The number of the restored cluster's one replica, which the archived one never gave.
const REPLICA: &str = "9";

/// Revisions of VMs by name, as `chv vm list -o json` tells them.
async fn listed(cluster: &Cluster, options: &[&str]) -> Result<BTreeMap<String, u64>> {
    let args = [&["vm", "list", "-o", "json"], options].concat();
    let listed = cluster.chv(&args).await?.done()?.json()?;
    let vms = listed.as_array().context("a list")?;
    let one = |vm: &serde_json::Value| Some((vm["name"].as_str()?.to_owned(), vm["revision"].as_u64()?));
    vms.iter().map(|vm| one(vm).context("a VM")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_cluster_under_load_when_it_is_backed_up_while_a_replica_dies_then_it_is_restored_as_it_was()
-> Result<()> {
    let options = Options {
        peering: Peering::LoopbackSecret,
        ..Options::log_only()
    };
    Cluster::run(options, async |cluster| {
        let _host = cluster.stand_in().await?;
        let (alice, stop) = (cluster.client("alice").await?, CancellationToken::new());
        // Given a cluster under load,
        let load = {
            let stop = stop.clone();
            tokio::spawn(async move {
                let mut created = 0;
                while !stop.is_cancelled() {
                    let command = vms::create(&format!("l{created}"), vms::tiny(), false);
                    vms::submit(&alice, command, PATIENCE).await?;
                    created += 1;
                }
                anyhow::Ok(created)
            })
        };
        let leader = cluster.wait_for_leader().await?;
        let before = cluster
            .chv(&["events", "--reverse", "--limit", "1", "-o", "json"])
            .await?
            .done()?
            .json()?;
        // when it is backed up, and a replica that may be asked for pages dies,
        let file = cluster.directory().join("backup.chv");
        let file = file.to_str().context("a path in UTF-8")?.to_owned();
        let (environment, to) = (cluster.environment_of("alice")?, file.clone());
        let backup = tokio::spawn(async move {
            chv_e2e::chv::run(&environment, &["cluster", "backup", &to, "-o", "json"]).await
        });
        let follower = leader % 3 + 1;
        cluster.scheduler(follower).kill()?;
        let archived = backup.await??.done()?.json()?;
        stop.cancel();
        let created = load.await??;
        ensure!(created > 0, "there was no load");
        // then it is sound, has all that was acknowledged when it began,
        cluster.chv(&["log", "verify", &file]).await?.done()?;
        let last = archived["lastSeq"].as_u64().context("the last event")?;
        ensure!(
            archived["firstSeq"] == 1 && Some(last) >= before["seq"].as_u64(),
            "{archived} after {before}"
        );
        let then = listed(cluster, &["--at", &last.to_string()]).await?;
        // and restored, with the old cluster gone, a new one has exactly the VMs of that event.
        let data = cluster.directory().join("restored");
        let address = format!("127.0.0.1:{}", free_ports(1)?.first().context("a port")?);
        let scheduler = find_program("chv-scheduler")?;
        let restored = Command::new(&scheduler)
            .args([
                "restore",
                "--archive",
                &file,
                "--replica",
                REPLICA,
                "--listen",
                &address,
                "--data",
            ])
            .arg(&data)
            .output()
            .await?;
        ensure!(
            restored.status.success(),
            "{}",
            String::from_utf8_lossy(&restored.stderr)
        );
        for number in (1..=3).filter(|number| *number != follower) {
            cluster.scheduler(number).kill()?;
        }
        let _new = Command::new(&scheduler)
            .args([
                "run",
                "--listen",
                &address,
                "--peers",
                &format!("{REPLICA}={address}"),
                "--data",
            ])
            .arg(&data)
            .env("CHV_NATS_URL", cluster.nats_url())
            .env("CHV_NATS_USER", "scheduler")
            .env("CHV_NATS_PASSWORD", cluster.password("scheduler")?)
            .env("CHV_CLUSTER_SECRET", cluster.password("scheduler")?)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let now = listed(cluster, &["--consistent", "--timeout", "40s"]).await?;
        ensure!(now == then, "restored {now:?}, there were {then:?}");
        Ok(())
    })
    .await
}
