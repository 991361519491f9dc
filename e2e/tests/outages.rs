//! What people and replicas live through: no NATS, no leader, a broker that is gone in the middle of a command, and
//! replicas that come back from their disks.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use chv_domain::{UserName, Verb};
use chv_e2e::{Cluster, Options, PATIENCE, contiguous, trail, vms};
use chv_proto::client::{QueryError, new_command_id};
use chv_proto::subject::{self, Audience};
use chv_proto::v1::{ListHosts, query_envelope::Query};
use futures::StreamExt;

#[tokio::test(flavor = "multi_thread")]
async fn given_no_nats_or_no_leader_then_chv_says_so_in_time_and_nothing_changes_needs_guest() -> Result<()> {
    Cluster::run(Options::emulated(1), async |cluster| {
        let create = [
            "vm",
            "create",
            "web",
            "--kernel",
            "tiny",
            "--memory",
            "16MiB",
            "--timeout",
            "4s",
        ];
        let before = cluster.wait_for_agreement().await?;

        // When NATS is gone, then the error names where it was looked for.
        let url = cluster.nats_url().to_owned();
        cluster.nats().kill()?;
        for args in [
            &create[..],
            &["vm", "list", "--timeout", "4s"],
            &["status", "--timeout", "4s"],
        ] {
            let output = cluster.chv(args).await?.exited_with(7)?;
            ensure!(
                output.stderr.contains(url.trim_start_matches("nats://")),
                "{output:?}"
            );
        }
        cluster.start_nats().await?;

        // When two of the three replicas are gone, the leader among them, then there is nobody to decide.
        let leader = cluster.wait_for_leader().await?;
        let follower = leader % 3 + 1;
        cluster.scheduler(leader).kill()?;
        cluster.scheduler(follower).kill()?;
        nobody_leads(cluster).await?;
        let output = cluster.chv(&create).await?.exited_with(7)?;
        ensure!(output.stderr.contains("lead"), "{output:?}");

        // When they are back, then all is as it was, and the command can be given.
        cluster.scheduler(leader).start()?;
        cluster.scheduler(follower).start()?;
        cluster.wait_for_leader().await?;
        let after = cluster.wait_for_agreement().await?;
        ensure!(
            after.applied_seq == before.applied_seq,
            "something was done: {before:?}, then {after:?}"
        );
        ensure!(
            after.digest == before.digest,
            "something changed: {before:?}, then {after:?}"
        );
        cluster.wait_for_hosts().await?;
        cluster.chv(&create[..7]).await?.done().map(drop)
    })
    .await
}

/// Waits until NATS, too, knows that no leader listens any more: what is sent before may be on its way to a dead one.
async fn nobody_leads(cluster: &mut Cluster) -> Result<()> {
    let alice = cluster.client("alice").await?;
    let look = async || {
        let hosts = Query::ListHosts(ListHosts::default());
        let asked = alice
            .query(Audience::Leader, hosts, None, Duration::from_millis(300))
            .await;
        match asked {
            Err(QueryError::NobodyAnswers { .. }) => Ok(()),
            other => Err(anyhow!("somebody may: {other:?}")),
        }
    };
    cluster
        .wait("nobody answers for the leader", PATIENCE, look)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn given_nats_lost_in_mid_command_then_the_retry_has_its_id_and_gets_the_first_answer_needs_guest()
-> Result<()> {
    Cluster::run(Options::emulated(1), async |cluster| {
        let alice = cluster.client("alice").await?;
        let user: UserName = "alice".parse()?;
        let subject = subject::command(&user, Verb::VmCreate);
        let id = new_command_id();
        let create = vms::submission(&user, id, vms::create("web", vms::tiny(), true));

        // Given a command that has reached the leader, which has not yet read it.
        let spy = cluster.client("scheduler").await?;
        let mut seen = spy.nats().subscribe(subject).await?;
        spy.nats().flush().await?;
        let leader = cluster.wait_for_leader().await?;
        cluster.scheduler(leader).pause()?;
        let (sender, submitted) = (alice.clone(), create.clone());
        let sending = tokio::spawn(async move { sender.submit(&submitted, PATIENCE, None).await });
        tokio::time::timeout(PATIENCE, seen.next())
            .await?
            .context("the command was never seen")?;

        // When NATS dies before the answer, and comes back.
        cluster.nats().kill()?;
        cluster.scheduler(leader).resume()?;
        cluster.start_nats().await?;

        // Then the sender gets an answer, the VM is there once, and it is this command's.
        let answer = sending.await??;
        ensure!(answer.vm == id.to_string(), "{answer:?}");
        cluster.wait_for_status("web", "running").await?;
        let events = trail(&alice, None).await?;
        let created: Vec<_> = events.iter().filter(|event| event.kind == "created").collect();
        ensure!(
            created.len() == 1 && created[0].command == id.to_string(),
            "{created:?}"
        );
        ensure!(
            created[0].seq == answer.first_seq,
            "{answer:?} is not the answer to {created:?}"
        );

        // And whoever asks once more with the same id hears the same, and changes nothing.
        let again = alice.submit(&create, PATIENCE, None).await?;
        let same = |answer: &chv_proto::v1::Accepted| {
            (
                answer.first_seq,
                answer.last_seq,
                answer.vm.clone(),
                answer.host.clone(),
                answer.revision,
            )
        };
        ensure!(
            again.repeated_answer && same(&again) == same(&answer),
            "{again:?} is not {answer:?}"
        );
        contiguous(&trail(&alice, None).await?).map(drop)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn given_nats_lost_while_chv_waits_for_a_guest_then_chv_waits_on_and_sees_it_needs_guest() -> Result<()>
{
    Cluster::run(Options::emulated(1), async |cluster| {
        let environment = cluster.environment_of("alice")?;
        let create = [
            "vm",
            "create",
            "web",
            "--kernel",
            "uos/vmlinuz",
            "--initramfs",
            "uos/initramfs.cpio",
            "--memory",
            "128MiB",
            "--for",
            "ready",
        ];
        let waiting = tokio::spawn(async move { chv_e2e::chv::run(&environment, &create).await });
        let alice = cluster.client("alice").await?;
        let look = async || vms::find(&alice, "web").await?.context("it is not there");
        cluster.wait("the VM is created", PATIENCE, look).await?;
        ensure!(!waiting.is_finished(), "it has not waited");

        cluster.nats().kill()?;
        cluster.start_nats().await?;

        let output = waiting.await??.done()?;
        ensure!(output.stdout.contains("ready"), "{output:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn given_replicas_that_were_down_then_they_come_back_from_their_disks_with_the_same_state_needs_guest()
-> Result<()> {
    Cluster::run(Options::emulated(1), async |cluster| {
        let alice = cluster.client("alice").await?;
        let create =
            async |name: &str| vms::submit(&alice, vms::create(name, vms::tiny(), false), PATIENCE).await;
        create("one").await?;

        // A replica that was down catches up.
        let follower = cluster.wait_for_leader().await? % 3 + 1;
        cluster.scheduler(follower).kill()?;
        for number in 0..50 {
            create(&format!("vm-{number}")).await?;
        }
        cluster.scheduler(follower).start()?;
        cluster.wait_for_agreement().await?;

        // All of them, whether they were asked to end or killed, know what they knew.
        cluster.host("h1")?.stop(Duration::from_secs(10)).await?;
        let before = cluster.wait_for_agreement().await?;
        for number in 1..=3 {
            if number == 2 {
                cluster.scheduler(number).kill()?;
            } else {
                let status = cluster.scheduler(number).stop(Duration::from_secs(10)).await?;
                ensure!(status.success(), "replica {number} ended with {status}");
            }
        }
        for number in 1..=3 {
            cluster.scheduler(number).start()?;
        }
        cluster.wait_for_leader().await?;
        let after = cluster.wait_for_agreement().await?;
        ensure!(
            after.applied_seq == before.applied_seq,
            "events are lost: {before:?}, then {after:?}"
        );
        ensure!(
            after.digest == before.digest,
            "the state differs: {before:?}, then {after:?}"
        );

        // And they go on from there.
        cluster.host("h1")?.start()?;
        cluster.wait_for_hosts().await?;
        create("last").await?;
        let events = trail(&alice, None).await?;
        ensure!(contiguous(&events)? > after.applied_seq, "nothing was added");
        Ok(())
    })
    .await
}
