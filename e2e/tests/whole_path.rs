//! One command from a person's terminal to a booted kernel and back, with nothing in between but the real thing.

use anyhow::{Context, Result, ensure};
use chv_e2e::{Cluster, Options, contiguous, trail, vms};
use chv_proto::v1::{self, event_message::Event, exit_reason};

const HELLO: &str = "\
kind: Vm
name: hello
spec:
  cpu: 1
  memory: 128MiB
  boot:
    kernel: uos/vmlinuz
    initramfs: uos/initramfs.cpio
";

fn kinds(events: &[v1::EventMessage]) -> Vec<&str> {
    events.iter().map(|event| event.kind.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_is_applied_becomes_ready_stops_starts_and_is_deleted_and_all_of_it_is_in_the_trail_needs_guest()
-> Result<()> {
    Cluster::run(Options::emulated(1), async |cluster| {
        let manifest = cluster.directory().join("hello.yaml");
        std::fs::write(&manifest, HELLO)?;
        let manifest = manifest.to_str().context("a path in UTF-8")?.to_owned();
        let client = cluster.client("alice").await?;

        // When it is applied, then it is placed with a reason, runs, and its guest says that it is ready.
        let applied = cluster.chv(&["apply", "-f", &manifest]).await?.done()?;
        ensure!(applied.stdout.contains("placed on h1 (h1: score "), "{applied:?}");
        let vm = cluster.wait_for_status("hello", "ready").await?;
        let guest = cluster.guests().pop().context("its hypervisor runs")?;
        ensure!(
            (guest.vm.to_string(), guest.pid) == (vm.id.clone(), vm.pid),
            "{guest:?} is not {vm:?}"
        );
        let console = cluster
            .chv(&["console", "hello", "--until-ready", "--read-only"])
            .await?
            .done()?;
        ensure!(
            console.stdout.contains("Linux version") && console.stdout.contains("ready"),
            "{console:?}"
        );

        // And applied once more it changes nothing.
        let before = cluster.wait_for_agreement().await?;
        let again = cluster.chv(&["apply", "-f", &manifest]).await?.done()?;
        ensure!(again.stdout.contains("unchanged"), "{again:?}");
        cluster.chv(&["vm", "start", "hello"]).await?.done()?;
        ensure!(
            cluster.wait_for_agreement().await?.applied_seq == before.applied_seq,
            "something changed"
        );

        // And the trail leads from the command to the running guest, each event with who, when and why.
        let events = trail(&client, Some(&vms::named("hello"))).await?;
        ensure!(
            kinds(&events) == ["created", "placed", "started", "ready"],
            "{:?}",
            kinds(&events)
        );
        let [created, placed, started, ready] = events.as_slice() else {
            unreachable!("as many as kinds")
        };
        for event in [created, placed] {
            ensure!(
                (event.actor.as_str(), event.verb.as_str()) == ("alice", "vm.create"),
                "{event:?}"
            );
            ensure!(
                event.command == vm.id,
                "a VM has the id of the command that created it"
            );
        }
        for event in [started, ready] {
            ensure!(
                (event.actor.as_str(), event.verb.as_str()) == ("host/h1", "host.report"),
                "{event:?}"
            );
            ensure!(
                event.follows == created.seq,
                "the host acted on {}, not {}",
                event.follows,
                created.seq
            );
        }
        ensure!(
            events.is_sorted_by_key(|event| (event.seq, event.time_us)),
            "{events:?}"
        );
        let shown = cluster
            .chv(&["events", "--vm", "hello", "-o", "json"])
            .await?
            .done()?;
        for event in &events {
            ensure!(
                shown.stdout.contains(&event.command),
                "{} is not in {shown:?}",
                event.command
            );
        }

        // When it is stopped, then the guest powers itself off; started, it boots anew; killed, it is gone at once.
        cluster.chv(&["vm", "stop", "hello"]).await?.done()?;
        ensure!(cluster.guests().is_empty(), "its hypervisor still runs");
        ensure!(
            exit(&client).await? == exit_reason::Kind::PoweredOff,
            "it was not its own doing"
        );
        cluster.chv(&["vm", "start", "hello"]).await?.done()?;
        let again = cluster.wait_for_status("hello", "ready").await?;
        ensure!(again.pid != vm.pid, "it is the same process");
        cluster.chv(&["vm", "kill", "hello"]).await?.done()?;
        ensure!(cluster.guests().is_empty(), "its hypervisor still runs");
        ensure!(
            exit(&client).await? == exit_reason::Kind::Killed,
            "it was not killed"
        );

        // When it is deleted, then nothing of it is left, and its name is free.
        cluster.chv(&["vm", "delete", "hello", "--now"]).await?.done()?;
        cluster.chv(&["vm", "get", "hello"]).await?.exited_with(5)?;
        let left: Vec<_> = std::fs::read_dir(cluster.directory().join("h1/vms"))?.collect();
        ensure!(left.is_empty(), "its host keeps {left:?}");
        cluster
            .chv(&["vm", "create", "hello", "--kernel", "tiny", "--memory", "16MiB"])
            .await?
            .done()?;

        // And a running VM is deleted only by force.
        cluster.chv(&["vm", "delete", "hello"]).await?.exited_with(3)?;
        cluster
            .chv(&["vm", "delete", "hello", "--force", "--now"])
            .await?
            .done()?;
        ensure!(cluster.guests().is_empty(), "its hypervisor still runs");
        let agreed = cluster.wait_for_agreement().await?;
        ensure!(
            contiguous(&trail(&client, None).await?)? == agreed.applied_seq,
            "the trail is not whole"
        );
        Ok(())
    })
    .await
}

/// How `hello` ended last, as the trail has it.
async fn exit(client: &chv_proto::client::Client) -> Result<exit_reason::Kind> {
    let events = trail(client, Some(&vms::named("hello"))).await?;
    let reason = events.into_iter().rev().find_map(|event| match event.event {
        Some(Event::VmExited(exited)) => exited.reason,
        _ => None,
    });
    Ok(reason.context("it has not ended")?.kind())
}
