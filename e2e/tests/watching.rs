//! A slice of the state is watched while leaders die: its snapshot and the events after it are the whole of it.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chv_e2e::{Cluster, Options, PATIENCE, trail, vms};
use chv_proto::client::Client;
use chv_proto::client::follow::{Change, slice::Slice, watch};

const BEFORE: usize = 10;
const AFTER: usize = 60;

async fn create(client: &Client, numbers: std::ops::Range<usize>) -> Result<u64> {
    let mut last = 0;
    for number in numbers {
        let command = vms::create(&format!("w{number}"), vms::tiny(), false);
        last = vms::submit(client, command, PATIENCE).await?.last_seq;
    }
    Ok(last)
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_watched_project_when_leaders_are_killed_then_its_snapshot_and_events_have_no_hole_and_no_double()
-> Result<()> {
    Cluster::run(Options::log_only(), async |cluster| {
        let _host = cluster.stand_in().await?;
        let (alice, bob) = (cluster.client("alice").await?, cluster.client("alice").await?);
        create(&alice, 0..BEFORE).await?;
        // (on every replica, since any of them may be asked)
        cluster.wait_for_agreement().await?;
        // Given a project that is watched,
        let mut watched = watch(&bob, Slice::Project("default".parse()?));
        let first = tokio::time::timeout(PATIENCE, watched.recv())
            .await?
            .context("a snapshot")?;
        let Change::Snapshot(snapshot) = first else {
            anyhow::bail!("not a snapshot: {first:?}")
        };
        // when VMs are created while two leaders are killed one after the other,
        let creating = {
            let alice = alice.clone();
            tokio::spawn(async move { create(&alice, BEFORE..BEFORE + AFTER).await })
        };
        for _ in 0..2 {
            let leader = cluster.wait_for_leader().await?;
            cluster.scheduler(leader).kill()?;
            cluster.wait_for_leader().await?;
            cluster.scheduler(leader).start()?;
        }
        let last = creating.await??;
        // and the watcher is slow,
        let mut seqs = Vec::new();
        while seqs.last().is_none_or(|seq| *seq < last) {
            let change = tokio::time::timeout(PATIENCE, watched.recv())
                .await
                .context("the next event")?;
            match change.with_context(|| format!("{:?}", watched.failure()))? {
                Change::Event(event) => seqs.push(event.seq),
                Change::Snapshot(again) => anyhow::bail!("a second snapshot, of {}", again.seq),
            }
            if seqs.len() % 10 == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        // then it was told what the trail has after the snapshot about VMs, and the snapshot has what was before.
        let events = trail(&alice, None).await?;
        let of_vms = events.iter().filter(|event| event.verb.starts_with("vm."));
        let (before, after): (Vec<u64>, Vec<u64>) = of_vms
            .map(|event| event.seq)
            .partition(|seq| *seq <= snapshot.seq.0);
        ensure!(seqs == after, "told {seqs:?}, the trail has {after:?}");
        let names: BTreeSet<_> = snapshot.vms.iter().map(|vm| vm.name.clone()).collect();
        ensure!(
            names.len() == BEFORE && before.len() == 2 * BEFORE,
            "{names:?}, {before:?}"
        );
        Ok(())
    })
    .await
}
