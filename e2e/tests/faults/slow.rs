//! Slow disks: a slow follower costs the others nothing, a slow leader answers later, and nobody loses anything by it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chv_domain::{UserName, Verb};
use chv_e2e::faults::{Load, SlowDisk, in_own_namespaces};
use chv_e2e::{Cluster, Options, PATIENCE, Replicas, vms};
use chv_proto::client::{Client, new_command_id};
use chv_proto::v1::{self, command_reply};
use chv_proto::{convert, subject};
use prost::Message as _;
use tokio::task::JoinSet;

/// How many clients keep sending.
const SENDERS: usize = 8;

/// How many more acknowledged commands show that a cluster goes on.
const SOME: usize = 100;

/// For how long the pace is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// How long a slow disk takes no writes: longer than a heartbeat, shorter than what makes others stand for election.
const PAUSE: Duration = Duration::from_millis(300);

/// How many commands the flood has, in messages of so many: several times what may wait.
const FLOOD: (usize, usize) = (128, 256);

/// How many of the flood's messages are under way at once.
const AT_ONCE: usize = 64;

/// How many commands are acknowledged, in [`LOOK`].
async fn pace(load: &Load) -> usize {
    let before = load.count();
    tokio::time::sleep(LOOK).await;
    load.count() - before
}

/// Runs `work` on three replicas under load, each with a disk of its own; all that was acknowledged must be on all three after
/// it, and at most one other one have led.
fn under_load(
    work: impl AsyncFnOnce(&mut Cluster, &mut [SlowDisk], &Load) -> Result<()> + Send,
) -> Result<()> {
    in_own_namespaces(async || {
        let mut cluster = Cluster::prepare(Options::log_only())?;
        let places =
            (1..=Replicas::Three.count()).map(|number| cluster.directory().join(format!("s{number}")));
        let places: Vec<PathBuf> = places.collect();
        let mut disks = places
            .into_iter()
            .map(SlowDisk::mount)
            .collect::<Result<Vec<_>>>()?;
        let done = async {
            cluster.start().await?;
            let _host = cluster.stand_in().await?;
            let alice = cluster.client("alice").await?;
            let load = Load::start(&alice, SENDERS);
            load.goes_on(&mut cluster, SOME).await?;
            let before = term(&alice).await?;
            work(&mut cluster, &mut disks, &load).await?;
            load.goes_on(&mut cluster, SOME).await?;
            let terms = term(&alice).await? - before;
            ensure!(terms <= 1, "there were {terms} elections");
            load.end(&mut cluster).await
        };
        let done: Result<()> = done.await;
        for number in 1..=Replicas::Three.count() {
            cluster.scheduler(number).kill()?;
        }
        done.map_err(|error| cluster.with_logs(&error))
    })
}

/// The newest term that a replica knows of.
async fn term(client: &Client) -> Result<u64> {
    let states = client.status_of_each(Duration::from_secs(1), false).await?;
    let newest = states.iter().map(|state| state.term).max();
    newest.context("no replica answers")
}

/// Makes a disk slow, and sees to it that it is.
fn slow_down(disk: &mut SlowDisk) -> Result<()> {
    disk.slow_down(PAUSE)?;
    let takes = disk.write_takes()?;
    ensure!(takes > PAUSE / 2, "the disk is not slow: a write takes {takes:?}");
    Ok(())
}

#[test]
fn given_load_when_a_follower_s_disk_is_slow_then_commands_go_on_as_before_needs_loop() -> Result<()> {
    under_load(async |cluster, disks, load| {
        let follower = cluster.wait_for_leader().await? % Replicas::Three.count();
        let before = pace(load).await;

        // When one replica of three, which does not lead, has a slow disk,
        slow_down(&mut disks[follower])?;
        let meanwhile = pace(load).await;
        disks[follower].speed_up()?;
        let after = pace(load).await;

        // then the other two are a majority, and as fast as ever.
        println!("acknowledged in {LOOK:?}: {before}, with a slow follower {meanwhile}, then {after}");
        ensure!(
            meanwhile * 2 > before.min(after),
            "{meanwhile} instead of {before} and {after}"
        );
        Ok(())
    })
}

#[test]
fn given_load_when_the_leader_s_disk_is_slow_then_commands_are_answered_later_and_a_flood_as_busy_needs_loop()
-> Result<()> {
    under_load(async |cluster, disks, load| {
        let alice = cluster.client("alice").await?;
        let leader = cluster.wait_for_leader().await?;
        let before = pace(load).await;

        // When the one that leads has a slow disk,
        slow_down(&mut disks[leader - 1])?;

        // then commands are done, fewer of them,
        let meanwhile = pace(load).await;
        ensure!(meanwhile > 0, "nothing is acknowledged");
        ensure!(
            meanwhile * 2 < before,
            "{meanwhile}, and before {before}: the leader's disk does not matter"
        );
        // and of more than may wait, some are told to come again soon, and none waits for ever.
        let busy = flood(&alice).await?;
        ensure!(busy > 0, "all of the flood was taken in");

        // And with a disk as before the pace is as before.
        disks[leader - 1].speed_up()?;
        load.goes_on(cluster, SOME).await?;
        let after = pace(load).await;
        println!(
            "acknowledged in {LOOK:?}: {before}, with a slow leader {meanwhile}, then {after}; {busy} were busy"
        );
        ensure!(after * 2 > before, "{after} instead of {before}");
        Ok(())
    })
}

/// Sends very many commands at once, of which one can be done; how many were refused as busy. All must be answered.
async fn flood(client: &Client) -> Result<usize> {
    let (mut answers, mut busy, mut answered) = (JoinSet::new(), 0, 0);
    for _ in 0..FLOOD.0 {
        if answers.len() == AT_ONCE {
            let reply: Result<v1::CommandBatchReply> =
                answers.join_next().await.context("some are under way")??;
            (busy, answered) = count(reply?, busy, answered)?;
        }
        answers.spawn(send(client.clone()));
    }
    while let Some(reply) = answers.join_next().await {
        (busy, answered) = count(reply??, busy, answered)?;
    }
    ensure!(answered == FLOOD.0 * FLOOD.1, "{answered} were answered");
    Ok(busy)
}

/// Adds the answers of a message to those that said `busy` and to all.
fn count(reply: v1::CommandBatchReply, busy: usize, answered: usize) -> Result<(usize, usize)> {
    let mut refused = 0;
    for reply in &reply.replies {
        if let Some(command_reply::Result::Refused(why)) = &reply.result
            && why.code == "busy"
        {
            ensure!(why.retryable && why.retry_after_ms > 0, "{why:?}");
            refused += 1;
        }
    }
    Ok((busy + refused, answered + reply.replies.len()))
}

async fn send(client: Client) -> Result<v1::CommandBatchReply> {
    let user: UserName = client.user().parse()?;
    let one = || vms::submission(&user, new_command_id(), vms::create("flood", vms::tiny(), false));
    let submissions: Vec<_> = (0..FLOOD.1).map(|_| one()).collect();
    let payload = convert::encode_batch(&submissions).encode_to_vec();
    let to = subject::command_batch(&user, Verb::VmCreate);
    let request = async_nats::client::Request::new()
        .payload(payload.into())
        .timeout(Some(PATIENCE));
    let answer = client.nats().send_request(to, request).await?;
    Ok(v1::CommandBatchReply::decode(answer.payload)?)
}
