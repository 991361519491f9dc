//! A leader that is asked to end hands over first. How long that takes is measured by `make bench-failover`; here the
//! bound is loose, since other tests run meanwhile.

use std::time::Duration;

use anyhow::{Result, ensure};
use chv_e2e::faults::Load;
use chv_e2e::{Cluster, Options, PATIENCE};

/// How many clients keep sending.
const SENDERS: usize = 8;

/// How many more acknowledged commands show that a cluster goes on.
const SOME: usize = 100;

/// The longest time without an acknowledged command.
const SOON: Duration = Duration::from_secs(3);

/// For how long it is looked at.
const LOOK: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread")]
async fn given_load_when_the_leader_gets_sigterm_then_another_leads_soon_and_all_acknowledged_is_there()
-> Result<()> {
    Cluster::run(Options::log_only(), async |cluster| {
        let _host = cluster.stand_in().await?;
        let alice = cluster.client("alice").await?;
        let load = Load::start(&alice, SENDERS);
        load.goes_on(cluster, SOME).await?;
        let leader = cluster.wait_for_leader().await?;

        // When it is asked to end,
        let (ended, silence) = tokio::join!(
            cluster.scheduler(leader).stop(PATIENCE),
            load.longest_silence(LOOK)
        );
        let ended = ended?;
        println!("the longest time without an answer was {silence:?}");

        // then it says that another one leads before it ends, and commands are answered by that one.
        ensure!(ended.success(), "it ended with {ended}");
        let said = cluster.scheduler(leader).tail();
        ensure!(
            said.contains("another replica leads"),
            "it handed nothing over: {said}"
        );
        ensure!(silence < SOON, "nothing was answered for {silence:?}");
        ensure!(cluster.wait_for_leader().await? != leader, "it leads still");
        load.goes_on(cluster, SOME).await?;

        // And all that was ever acknowledged is on all three, once the first one is back.
        cluster.scheduler(leader).start()?;
        load.end(cluster).await
    })
    .await
}
