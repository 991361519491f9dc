//! Replicas that are cut off, and what the others do meanwhile: a leader without the broker lets another one lead, and a
//! replica that comes back deposes nobody.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chv_e2e::faults::{End, Links, Load, in_own_namespaces};
use chv_e2e::{Cluster, Options, PATIENCE, Replicas};
use chv_proto::v1;

/// How many clients keep sending.
const SENDERS: usize = 8;

/// How many more acknowledged commands show that a cluster goes on.
const SOME: usize = 100;

/// Runs `work` on three replicas under load, on links that can be cut; all that was acknowledged must be there after it.
fn under_load(
    environment: &[(&str, &str)],
    work: impl AsyncFnOnce(&mut Cluster, &Links, &Load) -> Result<()> + Send,
) -> Result<()> {
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()));
    let environment = environment.collect();
    in_own_namespaces(async || {
        let links = Arc::new(Links::connect(Replicas::Three.count(), 0)?);
        let options = Options {
            links: Some(Arc::clone(&links)),
            environment,
            ..Options::log_only()
        };
        Cluster::run(options, async |cluster| {
            let _host = cluster.stand_in().await?;
            let alice = cluster.client("alice").await?;
            let load = Load::start(&alice, SENDERS);
            load.goes_on(cluster, SOME).await?;
            work(cluster, &links, &load).await?;
            load.goes_on(cluster, SOME).await?;
            load.end(cluster).await
        })
        .await
    })
}

/// How all three replicas are.
async fn states(cluster: &mut Cluster) -> Result<Vec<v1::ReplicaStatus>> {
    let alice = cluster.client("alice").await?;
    let look = async || {
        let states = alice.status_of_each(Duration::from_secs(1), false).await?;
        ensure!(states.len() == 3, "{} answer", states.len());
        Ok(states)
    };
    cluster.wait("all three replicas answer", PATIENCE, look).await
}

#[test]
fn given_load_when_the_leader_is_cut_off_from_the_broker_alone_then_another_leads_and_answers_needs_links()
-> Result<()> {
    under_load(&[], async |cluster, links, load| {
        let leader = cluster.wait_for_leader().await?;
        let (own, broker) = (End::Replica(leader), End::Broker);

        // When nothing gets through between the two, while all replicas hear each other,
        links.cut(&[(own, broker), (broker, own)])?;
        let began = Instant::now();

        // then another replica leads, which nobody would elect while the first one does, and answers.
        let mut next = 0;
        while next == 0 || next == leader {
            next = cluster.wait_for_leader().await?;
        }
        load.goes_on(cluster, SOME).await?;
        println!("commands are acknowledged again after {:?}", began.elapsed());

        // And it goes on leading when the first one is back.
        links.heal()?;
        let states = states(cluster).await?;
        let first = states.iter().find(|state| state.replica == leader as u64);
        let first = first.context("it answers")?;
        ensure!(first.role != "leader", "{first:?}");
        Ok(())
    })
}

#[test]
fn given_load_when_a_follower_was_cut_off_and_is_back_then_the_leader_and_its_term_stay_needs_links()
-> Result<()> {
    // What it thinks while it hears nobody is said at this level.
    let environment = [("CHV_LOG", "info,chv_eventlog::elect=debug")];
    under_load(&environment, async |cluster, links, load| {
        let leader = cluster.wait_for_leader().await?;
        let before = states(cluster).await?;
        let term = before
            .iter()
            .map(|state| state.term)
            .max()
            .context("three answer")?;
        let follower = leader % 3 + 1;

        // Given a follower that hears nobody, for so long that it would stand for election,
        let others = (1..=3).filter(|other| *other != follower).map(End::Replica);
        let own = End::Replica(follower);
        let cuts = others
            .chain([End::Broker])
            .flat_map(|end| [(own, end), (end, own)]);
        links.cut(&cuts.collect::<Vec<_>>())?;
        let asks = async |cluster: &mut Cluster| {
            let said = cluster.scheduler(follower).tail();
            let asked = said.matches("the voters were asked").count();
            ensure!(asked >= 2, "it asked {asked} times");
            Ok(())
        };
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = asks(cluster).await {
            ensure!(Instant::now() < deadline, "{error}");
            load.goes_on(cluster, SOME).await?;
        }

        // when it is back,
        links.heal()?;
        load.goes_on(cluster, SOME).await?;

        // then the leader leads still, in the same term.
        for state in states(cluster).await? {
            ensure!(state.term == term, "was term {term}, then {state:?}");
        }
        ensure!(cluster.wait_for_leader().await? == leader, "another one leads");
        Ok(())
    })
}
