//! History that is kept for some time only, through `chv`: it is forgotten, all replicas agree, and reads before say what
//! there is.

use anyhow::{Context, Result, ensure};
use chv_e2e::{Cluster, Options, PATIENCE, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn given_a_limit_of_age_when_time_passes_then_the_oldest_is_forgotten_and_reads_say_what_there_is()
-> Result<()> {
    Cluster::run(Options::log_only(), async |cluster| {
        // Given a cluster that keeps a second of history, when things go on in it,
        let mut rounds = 0_u32;
        let oldest = loop {
            rounds += 1;
            ensure!(rounds < 120, "nothing is forgotten");
            // Each other setting is an event.
            let size = format!("{}GiB", 20 + rounds % 2);
            let set = [
                "cluster",
                "set-retention",
                "--keep-for",
                "1s",
                "--keep-size",
                &size,
            ];
            cluster.chv(&set).await?.done()?;
            let shown = cluster
                .chv(&["cluster", "get", "-o", "json"])
                .await?
                .done()?
                .json()?;
            ensure!(shown["retention"]["keepFor"] == "1s", "{shown}");
            ensure!(
                shown["replicas"].as_array().is_some_and(|all| all.len() == 3),
                "{shown}"
            );
            if let Some(oldest) = shown["oldestSeq"].as_u64().filter(|oldest| *oldest > 3) {
                ensure!(shown["oldestTime"].is_string(), "{shown}");
                break oldest;
            }
        };
        // and it is lifted again, so that what is kept stays as it is,
        cluster
            .chv(&["cluster", "set-retention", "--forever"])
            .await?
            .done()?;
        let shown = cluster
            .chv(&["cluster", "get", "--consistent", "-o", "json"])
            .await?
            .done()?
            .json()?;
        let oldest = shown["oldestSeq"].as_u64().context("no oldestSeq")?.max(oldest);
        // then that it was forgotten is told, and events begin where the cluster says,
        wait_until("every replica shows what is kept only", PATIENCE, async || {
            let events = cluster.chv(&["events", "-o", "json"]).await?.done()?;
            let lines: Vec<serde_json::Value> = events
                .stdout
                .lines()
                .map(serde_json::from_str)
                .collect::<Result<_, _>>()?;
            let first = lines.first().and_then(|line| line["seq"].as_u64());
            ensure!(first == Some(oldest), "{first:?} instead of {oldest}");
            let told = lines.iter().any(|line| line["kind"] == "history-forgotten");
            ensure!(told, "no event says that history was forgotten");
            Ok(())
        })
        .await?;
        // what is before is refused with what there is,
        let time = shown["oldestTime"].as_str().context("no oldestTime")?;
        for args in [&["events", "--from", "1"][..], &["vm", "list", "--at", "2"]] {
            let refused = cluster.chv(args).await?.exited_with(3)?;
            let says = refused.stderr.contains(&format!("begin with {oldest}"))
                && refused.stderr.contains(time.trim_end_matches('Z'));
            ensure!(says, "{}", refused.stderr);
        }
        // what is beyond the end is not there, and it is said where that is,
        let beyond = cluster
            .chv(&["events", "--from", "1000000", "-o", "json"])
            .await?
            .done()?;
        let says = beyond.stdout.is_empty() && beyond.stderr.contains("the log ends at event");
        ensure!(says, "{beyond:?}");
        // a backup has what is kept and the state before, and is proved from there on,
        let file = cluster.directory().join("backup.chv");
        let file = file.to_str().context("a path in UTF-8")?;
        let backup = ["cluster", "backup", file, "-o", "json"];
        let archived = cluster.chv(&backup).await?.done()?.json()?;
        ensure!(archived["firstSeq"] == oldest, "{archived}");
        let verify = ["log", "verify", file, "-o", "json"];
        let verified = cluster.chv(&verify).await?.done()?.json()?;
        let proved = verified["baseSeq"] == oldest - 1 && verified["snapshotsCompared"] == 1;
        ensure!(proved, "{verified}");
        // and the replicas hold the same.
        cluster.chv(&["status", "--digest"]).await?.done()?;
        Ok(())
    })
    .await
}
