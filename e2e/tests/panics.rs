//! What guests do by themselves: a reboot, and a kernel that panics.

use anyhow::{Result, ensure};
use chv_domain::spec::Cmdline;
use chv_e2e::{Cluster, Options, PATIENCE, trail, vms};
use chv_proto::client::Client;
use chv_proto::v1::{self, event_message::Event, exit_reason};

async fn types(client: &Client, vm: &v1::Vm, line: &str) -> Result<()> {
    let write = v1::ConsoleWrite {
        vm: vm.id.clone(),
        data: format!("{line}\n").into_bytes(),
    };
    let written = client.console_write(&"h1".parse()?, write).await?;
    ensure!(written.refused.is_none(), "{written:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guests_own_reboot_and_a_panic_that_it_would_reboot_after_are_told_apart_needs_guest() -> Result<()>
{
    Cluster::run(Options::emulated(1), async |cluster| {
        let client = cluster.client("alice").await?;
        // Given a guest that would boot anew a second after a panic.
        let mut spec = vms::uos();
        spec.boot.cmdline = Cmdline::try_from("panic=1".to_owned())?;
        vms::submit(&client, vms::create("web", spec, true), PATIENCE).await?;
        let first = cluster.wait_for_status("web", "ready").await?;

        // When it reboots by itself, then it does so in the process that it has, and that is told.
        types(&client, &first, "reboot").await?;
        let named = vms::named("web");
        let ends_with = async |cluster: &mut Cluster, kind: &str| {
            cluster
                .wait(&format!("it has {kind}"), PATIENCE, async || {
                    let events = trail(&client, Some(&named)).await?;
                    let found = events.iter().find(|event| event.kind == kind).cloned();
                    found.ok_or_else(|| anyhow::anyhow!("not yet"))
                })
                .await
        };
        ends_with(cluster, "rebooted").await?;
        let again = cluster.wait_for_status("web", "ready").await?;
        ensure!(again.pid == first.pid && again.exit.is_empty(), "{again:?}");

        // When its kernel panics, then that is an end, told as what it is, and it is started again.
        types(&client, &again, "panic").await?;
        let exited = ends_with(cluster, "exited").await?;
        let Some(Event::VmExited(exited)) = exited.event else {
            anyhow::bail!("that is no end: {exited:?}");
        };
        let reason = exited.reason.unwrap_or_default();
        ensure!(reason.kind() == exit_reason::Kind::Panicked, "{reason:?}");
        ensure!(exited.console.contains("Kernel panic"), "{:?}", exited.console);
        cluster
            .wait("it is another process", PATIENCE, async || {
                let now = vms::find(&client, "web").await?.unwrap_or_default();
                ensure!(now.pid != 0 && now.pid != first.pid, "not yet: {now:?}");
                Ok(())
            })
            .await
    })
    .await
}
