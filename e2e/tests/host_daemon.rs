//! A host daemon that dies, a guest that dies behind its back, and a file that is not there yet.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chv_e2e::{Cluster, Options, PATIENCE, trail, vms};
use chv_proto::client::Client;
use chv_proto::v1::{self, event_message::Event, exit_reason};

/// The first event after `after` about `name` that `pick` takes, once it is there.
async fn event<T>(
    cluster: &mut Cluster,
    client: &Client,
    name: &str,
    after: u64,
    pick: impl Fn(&v1::EventMessage) -> Option<T>,
) -> Result<T> {
    let named = vms::named(name);
    cluster
        .wait(&format!("{name} has the event"), PATIENCE, async || {
            let events = trail(client, Some(&named)).await?;
            let found = events.iter().filter(|event| event.seq > after).find_map(&pick);
            found.with_context(|| {
                let kinds: Vec<_> = events.iter().map(|event| (event.seq, &event.kind)).collect();
                format!("after {after} there is none in {kinds:?}")
            })
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_running_guest_when_its_host_daemon_is_killed_then_it_runs_on_and_is_adopted_needs_guest()
-> Result<()> {
    Cluster::run(Options::emulated(1), async |cluster| {
        let client = cluster.client("alice").await?;
        vms::submit(&client, vms::create("hello", vms::uos(), true), PATIENCE).await?;
        let before = cluster.wait_for_status("hello", "ready").await?;
        let guest = cluster.guests().pop().context("its hypervisor runs")?;

        // When the daemon is killed, and meanwhile a second VM is asked for.
        cluster.host("h1")?.kill()?;
        let second = vms::create("second", vms::tiny(), true);
        vms::submit(&client, second, PATIENCE).await?;
        ensure!(
            cluster.guests() == [guest.clone()],
            "the daemon's death changed what runs"
        );
        let uptime = guest.uptime().context("the guest runs on")?;
        cluster.host("h1")?.start()?;

        // Then the guest is adopted: the same process, with its uptime gone on.
        let adopted = event(cluster, &client, "hello", 0, |event| match &event.event {
            Some(Event::VmAdopted(adopted)) => Some(adopted.clone()),
            _ => None,
        });
        let adopted = adopted.await?;
        ensure!(adopted.pid == before.pid, "{adopted:?} is not {before:?}");
        let told = Duration::from_millis(adopted.uptime_ms);
        ensure!(told >= uptime, "its uptime went from {uptime:?} to {told:?}");
        ensure!(
            guest.uptime().is_some_and(|now| now >= told),
            "it is not the same process"
        );
        let after = cluster.wait_for_status("hello", "ready").await?;
        ensure!(
            after.running_since_us == before.running_since_us,
            "it counts as started anew"
        );

        // And what was asked for meanwhile is done.
        cluster.wait_for_status("second", "running").await?;

        // And the adopted guest is looked after: it stops when it is asked to.
        cluster.chv(&["vm", "stop", "hello"]).await?.done()?;
        ensure!(
            !cluster.guests().iter().any(|it| it.pid == guest.pid),
            "it still runs"
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_guest_that_is_killed_behind_its_daemons_back_then_it_is_told_and_started_again_needs_guest()
-> Result<()> {
    Cluster::run(Options::emulated(1), async |cluster| {
        let client = cluster.client("alice").await?;
        for name in ["seen", "unseen"] {
            vms::submit(&client, vms::create(name, vms::tiny(), true), PATIENCE).await?;
        }
        let seen = cluster.wait_for_status("seen", "running").await?;
        let unseen = cluster.wait_for_status("unseen", "running").await?;
        let guests = cluster.guests();
        let find = |vm: &v1::Vm| {
            guests
                .iter()
                .find(|guest| guest.pid == vm.pid)
                .context("it runs")
                .cloned()
        };
        let (seen_guest, unseen_guest) = (find(&seen)?, find(&unseen)?);

        // When one dies under the daemon's eyes, and the other while there is no daemon.
        seen_guest.kill()?;
        let exited = |event: &v1::EventMessage| match &event.event {
            Some(Event::VmExited(exited)) => exited.reason.clone().map(|reason| (event.seq, reason.kind())),
            _ => None,
        };
        let (at, reason) = event(cluster, &client, "seen", 0, exited).await?;
        ensure!(reason == exit_reason::Kind::Vanished, "{reason:?}");
        let started = |event: &v1::EventMessage| match &event.event {
            Some(Event::VmStarted(started)) => Some(started.pid),
            _ => None,
        };
        let again = event(cluster, &client, "seen", at, started).await?;
        cluster.host("h1")?.kill()?;
        unseen_guest.kill()?;
        cluster.host("h1")?.start()?;

        // Then each end is an event, each start another one, and what is wanted runs again.
        let (at, reason) = event(cluster, &client, "unseen", 0, exited).await?;
        ensure!(reason == exit_reason::Kind::Vanished, "{reason:?}");
        let unseen_again = event(cluster, &client, "unseen", at, started).await?;
        let expected = BTreeSet::from([again, unseen_again]);
        let running: BTreeSet<u32> = cluster.guests().iter().map(|guest| guest.pid).collect();
        ensure!(
            running == expected && !running.contains(&seen.pid),
            "{running:?} run, not {expected:?}"
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_kernel_that_is_not_there_then_the_vm_says_why_and_runs_once_it_comes_needs_guest()
-> Result<()> {
    Cluster::run(Options::emulated(1), async |cluster| {
        // When its kernel can't be read, then the VM is blocked, says which file, and `chv` gives up waiting.
        let create = "vm create late --kernel later/kernel --memory 16MiB --timeout 4s";
        let create: Vec<&str> = create.split(' ').collect();
        let created = cluster.chv(&create).await?.exited_with(9)?;
        let file = cluster.images().join("later/kernel");
        ensure!(created.stderr.contains(&*file.to_string_lossy()), "{created:?}");
        let vm = cluster.wait_for_status("late", "blocked").await?;
        ensure!(vm.trouble.contains(&*file.to_string_lossy()), "{vm:?}");
        ensure!(cluster.guests().is_empty(), "something runs");

        // When the file comes, then it runs, and nothing is in its way any more.
        std::fs::create_dir(cluster.images().join("later"))?;
        std::fs::copy(cluster.images().join("tiny"), &file)?;
        let vm = cluster.wait_for_status("late", "running").await?;
        ensure!(vm.trouble.is_empty(), "{vm:?}");
        let client = cluster.client("alice").await?;
        let events = trail(&client, Some(&vms::named("late"))).await?;
        let kinds: Vec<_> = events.iter().map(|event| event.kind.as_str()).collect();
        ensure!(kinds == ["created", "placed", "blocked", "started"], "{kinds:?}");
        Ok(())
    })
    .await
}
