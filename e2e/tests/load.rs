//! Two hundred creates, while all that can die does.
//!
//! All two hundred really run, each in a QEMU of its own: a Linux guest takes 128 MiB and two seconds of a core, of which
//! a small machine has no two hundred, so they boot the tiny kernel of the rig, which takes 20 MiB and 70 ms. What is
//! tested here, who runs where and how often, does not depend on what is inside.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use chv_e2e::{Cluster, Options, contiguous, trail, vms};
use chv_proto::client::Client;
use chv_proto::v1::{self, event_message::Event};
use tokio::task::JoinSet;

const CREATES: usize = 200;

/// How many people create at once.
const SENDERS: usize = 10;

/// Longer than all outages together.
const PATIENCE: Duration = Duration::from_secs(90);

fn name(number: usize) -> String {
    format!("vm-{number:03}")
}

/// Sends the creates in rounds, `SENDERS` at a time, and counts those that were acknowledged.
fn create_all(client: &Client, done: &Arc<AtomicUsize>) -> JoinSet<Result<Vec<(String, v1::Accepted)>>> {
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let (client, done) = (client.clone(), Arc::clone(done));
        senders.spawn(async move {
            let mut acknowledged = Vec::new();
            for number in (sender..CREATES).step_by(SENDERS) {
                let name = name(number);
                let command = vms::create(&name, vms::tiny(), true);
                let accepted = vms::submit(&client, command, PATIENCE).await?;
                acknowledged.push((name, accepted));
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(acknowledged)
        });
    }
    senders
}

async fn reached(cluster: &mut Cluster, done: &AtomicUsize, count: usize) -> Result<()> {
    let what = format!("{count} of the creates are acknowledged");
    let look = async || match done.load(Ordering::Relaxed) {
        now if now >= count => Ok(()),
        now => Err(anyhow!("{now} are")),
    };
    cluster.wait(&what, PATIENCE, look).await
}

async fn kill_the_leader(cluster: &mut Cluster) -> Result<()> {
    let leader = cluster.wait_for_leader().await?;
    cluster.scheduler(leader).kill()?;
    // The next kill must find a majority.
    cluster.wait_for_leader().await?;
    cluster.scheduler(leader).start()
}

/// What dies, and after how many acknowledged creates.
async fn break_things(cluster: &mut Cluster, done: &AtomicUsize) -> Result<()> {
    reached(cluster, done, 20).await?;
    kill_the_leader(cluster).await?;
    reached(cluster, done, 60).await?;
    cluster.host("h1")?.kill()?;
    reached(cluster, done, 70).await?;
    cluster.host("h1")?.start()?;
    reached(cluster, done, 90).await?;
    kill_the_leader(cluster).await?;
    reached(cluster, done, 120).await?;
    cluster.nats().kill()?;
    cluster.start_nats().await?;
    reached(cluster, done, 150).await?;
    kill_the_leader(cluster).await
}

#[tokio::test(flavor = "multi_thread")]
async fn given_200_creates_when_leaders_a_host_daemon_and_nats_are_killed_then_each_vm_is_there_once_needs_guest()
-> Result<()> {
    Cluster::run(Options::emulated(2), async |cluster| {
        let watch = cluster.watch_guests();
        let client = cluster.client("alice").await?;
        let done = Arc::new(AtomicUsize::new(0));

        // When two hundred VMs are created, and meanwhile everything is killed.
        let senders = create_all(&client, &done);
        break_things(cluster, &done).await?;
        let mut acknowledged = BTreeMap::new();
        for sent in senders.join_all().await {
            acknowledged.extend(sent?);
        }

        // Then every one was acknowledged, and the replicas agree, digest and all, on exactly these.
        ensure!(
            acknowledged.len() == CREATES,
            "{} were acknowledged",
            acknowledged.len()
        );
        wait_until_all_run(cluster, &client).await?;
        let agreed = cluster.wait_for_agreement().await?;
        let found = vms::list(&client, agreed.applied_seq).await?;
        let found: BTreeMap<_, _> = found.into_iter().map(|vm| (vm.name, vm.id)).collect();
        let expected: BTreeMap<_, _> = acknowledged
            .into_iter()
            .map(|(name, accepted)| (name, accepted.vm))
            .collect();
        ensure!(found == expected, "found {found:?} instead of {expected:?}");

        // And the trail has no hole, each VM was created and placed once, and none was started while it ran.
        let events = trail(&client, None).await?;
        ensure!(
            contiguous(&events)? == agreed.applied_seq,
            "the trail is not whole"
        );
        each_runs_once(&events)?;

        // And nobody ever saw two hypervisors of one VM.
        let seen = watch.end();
        ensure!(seen.doubles.is_empty(), "seen twice: {:?}", seen.doubles);
        ensure!(
            seen.most == CREATES && seen.looks > 100,
            "the watch saw too little: {seen:?}"
        );
        Ok(())
    })
    .await
}

async fn wait_until_all_run(cluster: &mut Cluster, client: &Client) -> Result<()> {
    let directory = cluster.directory().to_owned();
    let look = async || {
        let vms = vms::list(client, 0).await?;
        let processes: BTreeSet<_> = chv_e2e::guests_below(&directory)
            .into_iter()
            .map(|guest| guest.vm)
            .collect();
        let count = |status: &str| vms.iter().filter(|vm| vm.status == status).count();
        let running = count("running");
        ensure!(
            running == CREATES && processes.len() == CREATES,
            "{running} run, {} are starting, {} are blocked; there are {} hypervisors",
            count("starting"),
            count("blocked"),
            processes.len()
        );
        Ok(())
    };
    cluster.wait("all of them run", PATIENCE, look).await
}

fn each_runs_once(events: &[v1::EventMessage]) -> Result<()> {
    let mut created = BTreeSet::new();
    let mut placed = BTreeSet::new();
    let mut running = BTreeSet::new();
    for event in events {
        let (vm, fine) = match &event.event {
            Some(Event::VmCreated(it)) => (&it.vm, created.insert(it.vm.clone())),
            Some(Event::VmPlaced(it)) => (&it.vm, placed.insert(it.vm.clone())),
            Some(Event::VmStarted(it)) => (&it.vm, running.insert(it.vm.clone())),
            Some(Event::VmAdopted(it)) => {
                // It may have been started by a daemon that was killed before it said so.
                running.insert(it.vm.clone());
                continue;
            }
            Some(Event::VmExited(it)) => (&it.vm, running.remove(&it.vm)),
            _ => continue,
        };
        ensure!(
            fine,
            "event {} says a second time that {vm} was {}",
            event.seq,
            event.kind
        );
    }
    ensure!(
        created.len() == CREATES && running.len() == CREATES,
        "{} were created",
        created.len()
    );
    Ok(())
}
