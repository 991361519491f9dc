//! Leases: what asks for failover is ended on a host that can't renew its lease before it is started on another one,
//! and what doesn't ask is left alone.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chv_domain::spec::OnHostLoss;
use chv_domain::{Actor, Command, Event, ExitReason, VmSpec};
use chv_e2e::faults::{End, Links, in_own_namespaces};
use chv_e2e::{Cluster, Guest, Options, PATIENCE, Replicas, guests_below, trail, vms};
use chv_proto::client::Client;
use chv_proto::convert::event_from_wire;
use chv_proto::v1;

/// A new leader waits for the longest lease that there may be, 24 s, and then guests boot.
const FAILOVER: Duration = Duration::from_secs(60);

/// Two hosts under leases that no stall of a busy machine ends: heartbeats may fail to come for 7 s.
fn leases() -> Options {
    let lease = [("CHV_HOST_LEASE".to_owned(), "10s".to_owned())];
    Options {
        environment: lease.into(),
        ..Options::emulated(2)
    }
}

/// Starts a VM on each host that doesn't ask for failover, and one that does: that one, and the others' guests.
async fn given_vms(cluster: &mut Cluster) -> Result<(v1::Vm, Vec<Guest>)> {
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
    let moves = cluster.wait_for_status("moves", "running").await?;
    let mut stay = cluster.guests();
    stay.retain(|guest| guest.vm.to_string() != moves.id);
    ensure!(stay.len() == 2, "{stay:?}");
    Ok((moves, stay))
}

/// The one guest of this VM, which runs on its host.
fn guest(cluster: &Cluster, vm: &v1::Vm) -> Result<Guest> {
    let mut found = cluster.guests();
    found.retain(|guest| guest.vm.to_string() == vm.id);
    let there = Path::new(&vm.host).join("vms").join(&vm.id);
    match <[Guest; 1]>::try_from(found) {
        Ok([guest]) if guest.directory.ends_with(&there) => Ok(guest),
        Ok([guest]) => anyhow::bail!("{guest:?} is not on {}", vm.host),
        Err(found) => anyhow::bail!("{found:?} run of {}", vm.name),
    }
}

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
    Cluster::run(leases(), async |cluster| {
        let (first, stay) = given_vms(cluster).await?;
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
        guest(cluster, &third)?;
        ensure!(now.len() == 3, "{now:?}");
        Ok(())
    })
    .await
}

/// The number of a rig's host, from its name.
fn number(host: &str) -> Result<usize> {
    let digits = host.strip_prefix('h').context("hosts are h1 and on")?;
    Ok(digits.parse()?)
}

/// Waits until no guest of its VM runs where this one does; when one was last seen.
async fn ends(cluster: &mut Cluster, guest: &Guest) -> Result<Instant> {
    let (mut seen, directory) = (Instant::now(), cluster.directory().to_owned());
    cluster
        .wait("its guest has ended", FAILOVER, async || {
            let now = Instant::now();
            let runs = |now: &Guest| (now.vm, &now.directory) == (guest.vm, &guest.directory);
            if guests_below(&directory).iter().any(runs) {
                seen = now;
                anyhow::bail!("it runs still");
            }
            Ok(())
        })
        .await?;
    Ok(seen)
}

/// Checks that after event `since` the trail of `moves` says that it ended with its host's lease, then that it was placed
/// by the same leader, then that it started.
async fn trail_says_so(client: &Client, since: u64) -> Result<()> {
    let events = trail(client, Some(&vms::named("moves"))).await?;
    let later = events.into_iter().filter(|event| event.seq > since);
    let entries = later.map(event_from_wire).collect::<Result<Vec<_>, _>>()?;
    let [exited, placed, started] = &entries[..] else {
        anyhow::bail!("other events than expected: {entries:?}");
    };
    let ended = ExitReason::LeaseEnded;
    ensure!(
        matches!(&exited.event, Event::VmExited { reason, .. } if *reason == ended)
            && matches!(placed.event, Event::VmPlaced { .. })
            && matches!(started.event, Event::VmStarted { .. }),
        "{entries:?}"
    );
    ensure!(
        exited.actor == placed.actor && matches!(exited.actor, Actor::Replica(_)),
        "{} and {}",
        exited.actor,
        placed.actor
    );
    Ok(())
}

#[test]
fn given_a_host_that_only_the_broker_can_t_reach_then_what_asks_ends_there_first_and_it_comes_back_without_needs_guest_needs_links()
-> Result<()> {
    in_own_namespaces(async || {
        let links = Arc::new(Links::connect(Replicas::Three.count(), 2)?);
        let options = Options {
            links: Some(Arc::clone(&links)),
            ..leases()
        };
        Cluster::run(options, async |cluster| {
            let client = cluster.client("alice").await?;
            let (first, stay) = given_vms(cluster).await?;
            let guest_of_first = guest(cluster, &first)?;
            let daemon = cluster.host(&first.host)?.pid();
            let before = trail(&client, None).await?.len() as u64;
            let watch = cluster.watch_guests();

            // When nothing gets through between its host and the broker, and all else goes on,
            let (own, broker) = (End::Host(number(&first.host)?), End::Broker);
            links.cut(&[(own, broker), (broker, own)])?;

            // then the host ends its guest, and only after that it starts on the other one.
            let last_seen = ends(cluster, &guest_of_first).await?;
            let log = cluster.directory().join(format!("hostd-{}.log", first.host));
            cluster
                .wait("its daemon says why", PATIENCE, async || {
                    let said = std::fs::read_to_string(&log)?;
                    ensure!(said.contains("ended with its host's lease"), "{said}");
                    Ok(())
                })
                .await?;
            let second = moved_from(cluster, &first.host).await?;
            let uptime = guest(cluster, &second)?.uptime().context("it has ended")?;
            let started = Instant::now()
                .checked_sub(uptime)
                .context("a guest older than this machine")?;
            ensure!(
                started > last_seen,
                "it started {:?} too early",
                last_seen - started
            );
            ensure!(second.epoch > first.epoch, "{second:?}");
            trail_says_so(&client, before).await?;

            // And when the link is back, the host takes part again, without it.
            links.heal()?;
            cluster.wait_for_hosts().await?;
            let other = second.host.parse()?;
            vms::submit(&client, Command::CordonHost { host: other }, PATIENCE).await?;
            vms::submit(&client, vms::create("new", vms::tiny(), true), PATIENCE).await?;
            let new = cluster.wait_for_status("new", "running").await?;
            ensure!(new.host == first.host, "{new:?}");
            let now = vms::find(&client, "moves").await?.context("it is gone")?;
            ensure!((&now.host, now.epoch) == (&second.host, second.epoch), "{now:?}");
            guest(cluster, &second)?;

            // And it never ran twice, and all others run on as they did, on the same daemon's host too.
            let seen = watch.end();
            ensure!(seen.doubles.is_empty() && seen.looks > 10, "{seen:?}");
            let now = cluster.guests();
            for guest in &stay {
                ensure!(now.contains(guest), "{guest:?} is gone; {now:?} run");
            }
            ensure!(now.len() == stay.len() + 2, "{now:?}");
            ensure!(
                cluster.host(&first.host)?.pid() == daemon,
                "its daemon is another one"
            );
            Ok(())
        })
        .await
    })
}
