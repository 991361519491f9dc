//! Leases: what asks for failover is ended on a host that can't renew its lease before it is started on another one,
//! and what doesn't ask is left alone.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chv_domain::VmSpec;
use chv_domain::spec::OnHostLoss;
use chv_e2e::{Cluster, Options, PATIENCE, vms};
use chv_proto::v1;

/// A new leader waits for the longest lease that there may be, 24 s, and then guests boot.
const FAILOVER: Duration = Duration::from_secs(60);

/// Waits until `moves` runs elsewhere than on `host`.
async fn moved_from(cluster: &mut Cluster, host: &str) -> Result<v1::Vm> {
    let client = cluster.client("alice").await?;
    cluster
        .wait("moves runs elsewhere", FAILOVER, async || {
            let vm = vms::find(&client, "moves").await?.context("it is gone")?;
            ensure!(
                vm.host != host && vm.status == "running",
                "{} on {}",
                vm.status,
                vm.host
            );
            Ok(vm)
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_vm_that_asks_when_its_host_can_t_renew_then_it_ends_there_and_starts_elsewhere_needs_guest()
-> Result<()> {
    let lease = [("CHV_HOST_LEASE".to_owned(), "3s".to_owned())];
    let options = Options {
        environment: lease.into(),
        ..Options::emulated(2)
    };
    Cluster::run(options, async |cluster| {
        // Given a VM on each host that doesn't ask for failover, and one that does.
        let client = cluster.client("alice").await?;
        for name in ["stays-1", "stays-2"] {
            vms::submit(&client, vms::create(name, vms::tiny(), true), PATIENCE).await?;
            cluster.wait_for_status(name, "running").await?;
        }
        let asks = VmSpec {
            on_host_loss: OnHostLoss::Failover,
            ..vms::tiny()
        };
        vms::submit(&client, vms::create("moves", asks, true), PATIENCE).await?;
        let first = cluster.wait_for_status("moves", "running").await?;
        let stay: Vec<_> = cluster
            .guests()
            .into_iter()
            .filter(|guest| guest.pid != first.pid)
            .collect();
        let watch = cluster.watch_guests();

        // When its host's daemon is killed, and its guests are not,
        cluster.host(&first.host)?.kill()?;
        // then it starts on the other host.
        let second = moved_from(cluster, &first.host).await?;
        ensure!(second.epoch > first.epoch, "{second:?}");
        cluster.host(&first.host)?.start()?;

        // And when that one's daemon stands still, then it is back on the first.
        cluster.host(&second.host)?.pause()?;
        let third = moved_from(cluster, &second.host).await?;
        cluster.host(&second.host)?.resume()?;
        cluster.wait_for_status("stays-1", "running").await?;
        cluster.wait_for_status("stays-2", "running").await?;

        // And it never ran twice, and the others run on as they did.
        let seen = watch.end();
        ensure!(seen.doubles.is_empty() && seen.looks > 10, "{seen:?}");
        let now = cluster.guests();
        for guest in &stay {
            ensure!(now.contains(guest), "{guest:?} is gone; {now:?} run");
        }
        let moves = now.iter().find(|guest| guest.pid == third.pid);
        moves.context("what was moved runs")?;
        ensure!(now.len() == 3, "{now:?}");
        Ok(())
    })
    .await
}
