//! A replica whose file system turns read-only goes on serving reads, and does nothing else: where others can write, one
//! of them leads, and otherwise commands are refused with the reason. It takes part again once it can write.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use chv_e2e::faults::{FailingDisk, Load, ReadOnlyMount, Rounds, in_own_namespaces};
use chv_e2e::history_check::all_kept;
use chv_e2e::{Cluster, Options, PATIENCE, Replicas, contiguous, trail, vms, wait_until};
use chv_proto::client::{Client, CommandError};
use chv_proto::subject::Audience;
use chv_proto::v1::{self, query_envelope::Query, query_reply};

/// What a replica says when it is started on a disk that can't be written.
const REFUSAL: &str = "is on a file system that is read-only";

/// How long a refusal that may be over later is waited out.
const SOON: Duration = Duration::from_secs(3);

/// For how long is looked when commands are done again after the leader's disk turned read-only. Half of it may pass: that
/// is noticed, a lease, an election, and a retry.
const FAILOVER: Duration = Duration::from_secs(6);

/// How many clients keep sending.
const SENDERS: usize = 8;

async fn create(client: &Client, name: &str, patience: Duration) -> Result<(), CommandError> {
    let create = vms::create(name, vms::tiny(), false);
    vms::submit(client, create, patience).await.map(drop)
}

/// How many events about a VM are found, by whichever replica answers.
async fn found(client: &Client, name: &str) -> Result<usize> {
    let query = Query::ListEvents(v1::ListEvents {
        from_seq: 1,
        vm: Some(vms::named(name)),
        ..v1::ListEvents::default()
    });
    let reply = client.query(Audience::Any, query, None, PATIENCE).await?;
    match reply.result {
        Some(query_reply::Result::Events(page)) => Ok(page.events.len()),
        other => bail!("that is no page of events: {other:?}"),
    }
}

#[test]
fn given_a_leader_whose_disk_fails_then_another_leads_it_serves_reads_and_catches_up_once_mended_needs_loop()
-> Result<()> {
    in_own_namespaces(async || {
        let mut cluster = Cluster::prepare(Options::log_only())?;
        let disk = |number| FailingDisk::mount(cluster.directory().join(format!("s{number}")));
        let disks = (1..=3).map(disk).collect::<Result<Vec<_>>>()?;
        let done = async {
            cluster.start().await?;
            let _host = cluster.stand_in().await?;
            let alice = cluster.client("alice").await?;
            create(&alice, "before", PATIENCE).await?;
            let failed = cluster.wait_for_leader().await?;

            // When the file system under the leader turns read-only for good,
            disks[failed - 1].fail()?;
            let began = Instant::now();

            // then another one leads, and commands are done.
            create(&alice, "meanwhile", PATIENCE).await?;
            println!("a command was done after {} ms", began.elapsed().as_millis());
            ensure!(cluster.wait_for_leader().await? != failed, "it leads on");
            cluster.all_run()?;

            // And it reads what it has, when it is the only one that runs.
            let others: Vec<usize> = (1..=3).filter(|number| *number != failed).collect();
            for number in &others {
                cluster.scheduler(*number).kill()?;
            }
            ensure!(found(&alice, "before").await? > 0, "no event is found");
            ensure!(
                vms::list(&alice, 0).await?.iter().any(|vm| vm.name == "before"),
                "it is gone"
            );
            for number in others {
                cluster.scheduler(number).start()?;
            }
            create(&alice, "after", PATIENCE).await?;

            // Started there, it says what is wrong; and mended, it has everything.
            cluster.scheduler(failed).kill()?;
            cluster.scheduler(failed).start()?;
            ends(&mut cluster, failed, REFUSAL).await?;
            disks[failed - 1].mend()?;
            cluster.scheduler(failed).start()?;
            cluster.wait_for_agreement().await?;
            contiguous(&trail(&alice, None).await?).map(drop)
        };
        let done = done.await;
        for number in 1..=3 {
            cluster.scheduler(number).kill()?;
        }
        drop(disks);
        done.map_err(|error| cluster.with_logs(&error))
    })
}

#[test]
fn given_a_leader_that_can_not_write_for_a_while_then_another_leads_and_it_follows_without_a_restart_needs_links()
-> Result<()> {
    let mut rounds = Rounds::of(1);
    in_own_namespaces(async || {
        Cluster::run(Options::log_only(), async |cluster| {
            let _host = cluster.stand_in().await?;
            let alice = cluster.client("alice").await?;
            create(&alice, "before", PATIENCE).await?;

            while rounds.begin_another() {
                let (was, round) = (cluster.wait_for_leader().await?, rounds.begun());

                // When it can't write,
                let load = Load::start(&alice, SENDERS);
                load.goes_on(cluster, 100).await?;
                let cant = ReadOnlyMount::over(cluster.directory().join(format!("s{was}")))?;

                // then another one leads, soon, and once it can, it has what it missed.
                let silence = load.longest_silence(FAILOVER).await;
                println!("no command was done for {} ms", silence.as_millis());
                ensure!(silence < FAILOVER / 2, "no command was done for {silence:?}");
                is_led_by_another(cluster, was).await?;
                drop(cant);
                load.end(cluster).await?;
                create(&alice, &format!("after-{round}"), PATIENCE).await?;
                cluster.all_run()?;
            }
            Ok(())
        })
        .await
    })
}

#[test]
fn given_no_other_replica_then_commands_are_refused_with_the_reason_reads_go_on_and_writing_ends_it_needs_links()
-> Result<()> {
    in_own_namespaces(async || {
        let options = Options {
            replicas: Replicas::One,
            ..Options::log_only()
        };
        Cluster::run(options, async |cluster| {
            let _host = cluster.stand_in().await?;
            let alice = cluster.client("alice").await?;
            create(&alice, "before", PATIENCE).await?;

            // When it can't write,
            let cant = ReadOnlyMount::over(cluster.directory().join("s1"))?;

            // then commands are refused with the reason,
            let refused = async || match create(&alice, "refused", SOON).await {
                Err(CommandError::Refused(refusal)) if refusal.code == "disk_read_only" => Ok(refusal),
                other => Err(anyhow::anyhow!("{other:?}")),
            };
            let refusal = wait_until("commands are refused", PATIENCE, refused).await?;
            ensure!(
                refusal.retryable && refusal.message.contains("replica 1"),
                "{refusal:?}"
            );

            // reads of all kinds go on,
            vms::find(&alice, "before").await?.context("it is gone")?;
            ensure!(found(&alice, "before").await? > 0, "no event is found");
            contiguous(&trail(&alice, None).await?)?;

            // and once it can write, so do commands.
            drop(cant);
            create(&alice, "after", PATIENCE).await?;
            cluster.all_run()
        })
        .await
    })
}

#[test]
fn given_no_other_replica_and_a_write_under_way_when_the_disk_fails_then_the_leader_is_read_and_nothing_is_lost_needs_loop()
-> Result<()> {
    in_own_namespaces(async || {
        let options = Options {
            replicas: Replicas::One,
            ..Options::log_only()
        };
        let mut cluster = Cluster::prepare(options)?;
        let disk = FailingDisk::mount(cluster.directory().join("s1"))?;
        let done = async {
            cluster.start().await?;
            let _host = cluster.stand_in().await?;
            let alice = cluster.client("alice").await?;
            create(&alice, "before", PATIENCE).await?;
            let load = Load::start(&alice, SENDERS);
            load.goes_on(&mut cluster, 100).await?;

            // When its file system turns read-only while it writes,
            disk.fail()?;

            // then it is read as the leader that it is, with what it acknowledged,
            let began = Instant::now();
            vms::find(&alice, "before").await?.context("it is gone")?;
            let took = began.elapsed();
            println!("the leader was read after {} ms", took.as_millis());
            ensure!(took < SOON, "the leader could not be read for {took:?}");
            let acknowledged = load.acknowledged();
            all_kept(&acknowledged, &trail(&alice, None).await?)?;
            drop(load);

            // and mended and started again, it has all of that, and goes on.
            cluster.scheduler(1).kill()?;
            disk.mend()?;
            cluster.scheduler(1).start()?;
            create(&alice, "after", PATIENCE).await?;
            let trail = trail(&alice, None).await?;
            contiguous(&trail)?;
            Ok(all_kept(&acknowledged, &trail)?)
        };
        let done = done.await;
        cluster.scheduler(1).kill()?;
        drop(disk);
        done.map_err(|error: anyhow::Error| cluster.with_logs(&error))
    })
}

async fn is_led_by_another(cluster: &mut Cluster, was: usize) -> Result<()> {
    let client = cluster.client("alice").await?;
    let look = async || {
        let states = client.status_of_each(Duration::from_secs(1), false).await?;
        let leaders: Vec<u64> = states.iter().map(|state| state.leader).collect();
        let another = leaders.iter().all(|leader| *leader != 0 && *leader != was as u64);
        ensure!(states.len() == 3 && another, "{leaders:?}");
        Ok(())
    };
    cluster.wait("another replica leads", PATIENCE, look).await
}

async fn ends(cluster: &mut Cluster, number: usize, words: &str) -> Result<()> {
    let replica = cluster.scheduler(number);
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
