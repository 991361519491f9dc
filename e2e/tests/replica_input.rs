//! What an operator gets wrong with replicas: each is told what is wrong and what to do, by the real programs, and the
//! cluster goes on. What strangers send to a replica's port is in the event log's own tests.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use chv_e2e::{Cluster, Options, PATIENCE, find_program, peering};

/// Runs a replica that should not start, and returns what it says. It is ended when it does start.
fn run(data: &Path, certificates: &Path) -> Result<Output> {
    let file = |name: &str| certificates.join(name);
    let output = Command::new("timeout")
        .arg("--kill-after=1")
        .arg("20")
        .arg(find_program("chv-scheduler")?)
        .args([
            "run",
            "--listen",
            "127.0.0.1:0",
            "--peers",
            "1=127.0.0.1:1,3=127.0.0.1:3",
        ])
        .args(["--nats", "nats://127.0.0.1:1", "--data"])
        .arg(data)
        .args(["--raft-cert".as_ref(), file("replica.pem").as_os_str()])
        .args(["--raft-key".as_ref(), file("replica.key").as_os_str()])
        .args(["--raft-ca".as_ref(), file("ca.pem").as_os_str()])
        .output()?;
    ensure!(
        output.status.code() == Some(1),
        "it does not end by itself: {output:?}"
    );
    Ok(output)
}

async fn wait_for_words(cluster: &mut Cluster, replicas: &[usize], words: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if replicas
            .iter()
            .any(|number| cluster.scheduler(*number).tail().contains(words))
        {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("none of {replicas:?} says `{words}` within {PATIENCE:?}")
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_replica_that_is_not_its_clusters_then_it_is_refused_until_its_certificate_is_renewed()
-> Result<()> {
    Cluster::run(Options::log_only(), async |cluster| {
        let directory = cluster.directory().to_owned();
        let own = peering::certificates(&directory, 3);

        // A replica's directory is one process's.
        let used = run(&directory.join("s1"), &peering::certificates(&directory, 1))?;
        let used = String::from_utf8_lossy(&used.stderr).into_owned();
        ensure!(used.contains("in use by another process"), "{used}");

        // A certificate of another replica is told by the replica itself.
        cluster.scheduler(3).kill()?;
        let other = run(&directory.join("s3"), &peering::certificates(&directory, 2))?;
        let other = String::from_utf8_lossy(&other.stderr).into_owned();
        ensure!(other.contains("is for replica-2."), "{other}");

        // One of another authority is refused by the others, and both sides say so.
        let ca = directory.join("another-ca");
        peering::make_authority(&ca, peering::CLUSTER)?;
        peering::issue(&ca, 3, &own)?;
        cluster.scheduler(3).start()?;
        wait_for_words(cluster, &[1, 2], "an authority that is not in --raft-ca").await?;
        wait_for_words(cluster, &[3], "--raft-ca").await?;

        // The right one is taken into use while it runs, and the replica is one of them again.
        peering::issue(&directory.join("ca"), 3, &own)?;
        std::fs::copy(directory.join("ca/ca.pem"), own.join("ca.pem"))?;
        // Whoever leads by then tells it: this one too may be elected.
        wait_for_words(cluster, &[1, 2, 3], "reached again").await?;
        cluster.wait_for_agreement().await?;
        Ok(())
    })
    .await
}
