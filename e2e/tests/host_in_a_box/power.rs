//! A host loses its power: what asks for failover runs elsewhere, what stays is started again when the host is back.

use anyhow::{Context, Result, ensure};
use chv_domain::spec::OnHostLoss;
use chv_domain::{HypervisorKind, VmSpec};
use chv_e2e::{Cluster, HostOptions, Options, PATIENCE, Replicas, trail, vms};
use chv_proto::v1::event_message::Event;

use crate::life::BOOT;

in_a_box_with_each!(
    given_a_host_in_a_box_when_its_power_is_cut_then_what_asks_runs_elsewhere_and_what_stays_comes_back,
    super::power_fails
);

async fn power_fails(kind: HypervisorKind) -> Result<()> {
    let options = Options {
        hosts: vec![HostOptions::boxed("b1", kind), HostOptions::emulated("h2")],
        replicas: Replicas::One,
        environment: vec![("CHV_HOST_LEASE".to_owned(), "10s".to_owned())],
        ..Options::default()
    };
    Cluster::run(options, async |cluster| {
        // Given one VM that stays and one that asks for failover, both on the host in the box.
        let client = cluster.client("alice").await?;
        cluster.chv(&["host", "cordon", "h2"]).await?.done()?;
        vms::submit(&client, vms::create("stays", vms::tiny(), true), PATIENCE).await?;
        let asks = VmSpec {
            on_host_loss: OnHostLoss::Failover,
            ..vms::tiny()
        };
        vms::submit(&client, vms::create("moves", asks, true), PATIENCE).await?;
        cluster.wait_for_status("stays", "running").await?;
        let moves = cluster.wait_for_status("moves", "running").await?;
        ensure!(moves.host == "b1", "{moves:?}");
        cluster.chv(&["host", "uncordon", "h2"]).await?.done()?;

        // When the box loses its power, then the one runs elsewhere, and the other is left where it is.
        cluster.cut_power_of_host("b1")?;
        cluster
            .wait("it runs elsewhere", BOOT, async || {
                let vm = vms::find(&client, "moves").await?.context("it is gone")?;
                ensure!(
                    vm.host == "h2" && vm.status == "running",
                    "{} on {}",
                    vm.status,
                    vm.host
                );
                Ok(())
            })
            .await?;
        let stays = vms::find(&client, "stays").await?.context("it is gone")?;
        ensure!(stays.host == "b1", "{stays:?}");

        // When the power is back, then it is the same host, which says what ended and starts it again.
        let before = trail(&client, None).await?.last().map_or(0, |event| event.seq);
        cluster.host("b1")?.start()?;
        let named = vms::named("stays");
        cluster
            .wait("it is started again", BOOT, async || {
                let events = trail(&client, Some(&named)).await?;
                let after = events.iter().filter(|event| event.seq > before);
                let kinds: Vec<_> = after.clone().map(|event| event.kind.as_str()).collect();
                let started = after
                    .clone()
                    .any(|event| matches!(event.event, Some(Event::VmStarted(_))));
                ensure!(started && kinds.contains(&"exited"), "since then: {kinds:?}");
                Ok(())
            })
            .await?;
        cluster.wait_for_status("stays", "running").await?;
        let guests = cluster.boxed("b1")?.guests().await?;
        ensure!(
            guests.len() == 1 && guests[0].vm.to_string() == stays.id,
            "{guests:?} run in the box"
        );
        Ok(())
    })
    .await
}
