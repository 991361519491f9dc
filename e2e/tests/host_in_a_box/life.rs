//! The life of a VM on a host in a box, as a user sees it, from its creation to its end.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chv_domain::HypervisorKind;
use chv_e2e::{BoxedGuest, Cluster, HostOptions, Options, Replicas, trail, vms};
use chv_proto::client::Client;
use chv_proto::v1::{event_message::Event, exit_reason};

/// A guest's kernel takes ten seconds where two processors are emulated for it, on an idle machine.
pub(crate) const BOOT: Duration = Duration::from_secs(90);

in_a_box_with_each!(
    given_a_host_in_a_box_then_a_vm_lives_on_it_through_every_verb_and_its_daemons_death,
    super::lives
);

async fn lives(kind: HypervisorKind) -> Result<()> {
    let options = Options {
        hosts: vec![HostOptions::boxed("b1", kind)],
        replicas: Replicas::One,
        ..Options::default()
    };
    Cluster::run(options, async |cluster| {
        let client = cluster.client("alice").await?;

        // When a VM is created, then its guest boots, under the hypervisor that the host's check found.
        cluster
            .chv(&[
                "vm",
                "create",
                "hello",
                "--kernel",
                "uos/vmlinuz",
                "--initramfs",
                "uos/initramfs.cpio",
            ])
            .await?
            .done()?;
        let vm = cluster.wait_until_ready_in_a_box("hello").await?;
        let guest = only_guest(cluster).await?;
        ensure!(
            (guest.vm.to_string(), guest.kind, guest.pid) == (vm.id.clone(), kind, vm.pid),
            "{guest:?} is not {vm:?}"
        );
        let console = ["console", "hello", "--until-ready", "--read-only"];
        let console = cluster.chv(&console).await?.done()?;
        ensure!(console.stdout.contains("chv-uos: ready"), "{console:?}");

        // When its daemon is killed and started, then the same process is adopted.
        cluster.boxed("b1")?.kill_daemon().await?;
        ensure!(
            only_guest(cluster).await? == guest,
            "the daemon's death changed what runs"
        );
        cluster.boxed("b1")?.start_daemon().await?;
        adopted(cluster, &client, guest.pid).await?;
        cluster.wait_for_status("hello", "ready").await?;

        // When it is paused, then it stays as it is until it is resumed; when it is reset, its guest boots anew.
        cluster.chv(&["vm", "pause", "hello"]).await?.done()?;
        cluster.wait_for_status("hello", "paused").await?;
        ensure!(only_guest(cluster).await? == guest, "the pause changed what runs");
        cluster.chv(&["vm", "resume", "hello"]).await?.done()?;
        cluster.wait_for_status("hello", "ready").await?;
        let reset = ["vm", "reset", "hello", "--for", "ready", "--timeout", "100s"];
        cluster.chv(&reset).await?.done()?;
        cluster.wait_until_ready_in_a_box("hello").await?;

        // When it is stopped, then the guest powers itself off.
        cluster.chv(&["vm", "stop", "hello"]).await?.done()?;
        ensure!(
            exit(&client).await? == exit_reason::Kind::PoweredOff,
            "it was not its own doing"
        );
        ensure!(guests(cluster).await?.is_empty(), "its hypervisor still runs");

        // When it is started and its process is killed behind the daemon's back, then it is started once more.
        cluster.chv(&["vm", "start", "hello"]).await?.done()?;
        let lost = only_guest(cluster).await?;
        cluster.boxed("b1")?.kill_guest(&lost).await?;
        cluster
            .wait("it runs again", BOOT, async || {
                let vm = vms::find(&client, "hello").await?.context("it is gone")?;
                ensure!(vm.pid != lost.pid && vm.status == "running", "{vm:?}");
                Ok(())
            })
            .await?;
        ensure!(
            exit(&client).await? == exit_reason::Kind::Vanished,
            "it was seen to end"
        );

        // When it is killed, then it is gone at once; deleted, nothing of it is left.
        cluster.chv(&["vm", "kill", "hello"]).await?.done()?;
        ensure!(
            exit(&client).await? == exit_reason::Kind::Killed,
            "it was not killed"
        );
        cluster.chv(&["vm", "delete", "hello", "--now"]).await?.done()?;
        ensure!(guests(cluster).await?.is_empty(), "its hypervisor still runs");
        Ok(())
    })
    .await
}

async fn guests(cluster: &Cluster) -> Result<Vec<BoxedGuest>> {
    cluster.boxed("b1")?.guests().await
}

async fn only_guest(cluster: &Cluster) -> Result<BoxedGuest> {
    let guests = guests(cluster).await?;
    let [guest] = guests.as_slice() else {
        anyhow::bail!("{guests:?} run, not one");
    };
    Ok(guest.clone())
}

/// Waits until `hello` is told to be adopted as this process.
async fn adopted(cluster: &mut Cluster, client: &Client, pid: u32) -> Result<()> {
    cluster
        .wait("it is adopted", BOOT, async || {
            let events = trail(client, Some(&vms::named("hello"))).await?;
            let found = events.iter().find_map(|event| match &event.event {
                Some(Event::VmAdopted(adopted)) => Some(adopted.pid),
                _ => None,
            });
            let found = found.context("no event says so")?;
            ensure!(found == pid, "{found} was adopted, not {pid}");
            Ok(())
        })
        .await
}

/// How `hello` ended last, as the trail has it.
async fn exit(client: &Client) -> Result<exit_reason::Kind> {
    let events = trail(client, Some(&vms::named("hello"))).await?;
    let reason = events.into_iter().rev().find_map(|event| match event.event {
        Some(Event::VmExited(exited)) => exited.reason,
        _ => None,
    });
    Ok(reason.context("it has not ended")?.kind())
}
