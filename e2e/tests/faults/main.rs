//! Replicas are killed, stopped and cut off from each other, in all ways and one after the other, while clients compete
//! for a few VMs and subscribers follow: whatever they were told must be true.
//!
//! The seed gives the order of what happens; the long form lasts as long as it is told. It needs root, for the replicas'
//! network namespaces.

mod cut_off;
mod disk_full;
mod read_only;
mod slow;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use chv_domain::{Event, Resource, Seq};
use chv_e2e::faults::{Clients, Links, Rounds, befall, in_own_namespaces};
use chv_e2e::history_check::{Changed, Fact, History, Told, check};
use chv_e2e::{Cluster, Options, Replicas, trail};
use chv_proto::convert::event_from_wire;
use chv_proto::v1;

#[test]
fn given_competing_clients_when_replicas_are_killed_stopped_and_cut_off_then_all_they_were_told_is_true_needs_links()
-> Result<()> {
    let mut rounds = Rounds::of(1);
    in_own_namespaces(async || {
        let links = Arc::new(Links::connect(Replicas::Three.count(), 0)?);
        let options = Options {
            links: Some(Arc::clone(&links)),
            ..Options::log_only()
        };
        Cluster::run(options, async |cluster| {
            let host = cluster.stand_in().await?;
            let clients = Clients::start(cluster, rounds.seed()).await?;

            befall(cluster, &links, &mut rounds).await?;

            cluster.wait_for_leader().await?;
            // Long enough for every client to have another answer.
            tokio::time::sleep(Duration::from_secs(1)).await;
            let mut history = clients.end().await?;
            drop(host);
            cluster.wait_for_agreement().await?;
            let alice = cluster.client("alice").await?;
            history.trail = facts(trail(&alice, None).await?)?;
            shows_enough(&history, rounds.begun())?;
            check(&history)?;
            Ok(())
        })
        .await
    })
}

fn facts(events: Vec<v1::EventMessage>) -> Result<Vec<Fact>> {
    let fact = |message| {
        let entry = event_from_wire(message)?;
        let changed = match (&entry.event, entry.event.resource()) {
            (
                Event::VmCreated { .. } | Event::VmStartRequested { .. } | Event::VmStopRequested { .. },
                Resource::Vm(vm),
            ) => Changed::Wish(vm),
            _ => Changed::Other,
        };
        Ok(Fact {
            seq: entry.seq,
            command: entry.cause.command,
            changed,
        })
    };
    events.into_iter().map(fact).collect()
}

/// A history in which nothing happened would prove nothing.
fn shows_enough(history: &History, rounds: u64) -> Result<()> {
    let told = |what: fn(&Told) -> bool| history.sent.iter().filter(|sent| what(&sent.told)).count();
    let done = told(|told| matches!(told, Told::Done { .. }));
    let conflicts = told(|told| *told == Told::Conflict);
    let unanswered = told(|told| *told == Told::Nothing);
    let followed = history.streams.iter().map(Vec::len).min().unwrap_or(0);
    println!(
        "{done} changes done, {conflicts} conflicts, {unanswered} without an answer; {} reads; {} events, of which \
         each subscriber saw {followed} at least",
        history.looks.len(),
        history.trail.len(),
    );
    let least = 50 * usize::try_from(rounds)?;
    ensure!(done > least && conflicts > 0, "too little was done");
    ensure!(
        history.looks.len() > least && followed > least,
        "too little was seen"
    );
    ensure!(
        history.trail.last().is_some_and(|last| last.seq > Seq::ZERO),
        "there is no trail"
    );
    Ok(())
}
