//! What becomes of guests that end without having been asked to, as their restart policies say.

use anyhow::{Context, Result, ensure};
use chv_domain::VmSpec;
use chv_domain::spec::{Restart, RestartPolicy, Within};
use chv_e2e::{Cluster, Options, PATIENCE, trail, vms, wait_until};
use chv_proto::client::Client;
use chv_proto::v1;

fn restarted(spec: VmSpec, policy: RestartPolicy, limit: Option<u64>) -> VmSpec {
    let limit = limit.map(|limit| Within::try_from(limit).expect("within its bounds"));
    VmSpec {
        restart: Restart {
            policy,
            limit,
            ..Restart::default()
        },
        ..spec
    }
}

async fn power_off_by_itself(client: &Client, vm: &v1::Vm) -> Result<()> {
    let write = v1::ConsoleWrite {
        vm: vm.id.clone(),
        data: b"poweroff\n".to_vec(),
    };
    let written = client.console_write(&"h1".parse()?, write).await?;
    ensure!(written.refused.is_none(), "{written:?}");
    Ok(())
}

async fn starts(client: &Client, name: &str) -> Result<usize> {
    let events = trail(client, Some(&vms::named(name))).await?;
    Ok(events.iter().filter(|event| event.kind == "started").count())
}

#[tokio::test(flavor = "multi_thread")]
async fn given_policies_then_guests_that_end_are_started_again_or_stay_and_say_why_needs_guest() -> Result<()>
{
    Cluster::run(Options::emulated(1), async |cluster| {
        let client = cluster.client("alice").await?;
        let limited = restarted(vms::tiny(), RestartPolicy::Always, Some(1));
        for (name, spec) in [
            ("usual", vms::uos()),
            ("always", restarted(vms::uos(), RestartPolicy::Always, None)),
            ("limited", limited),
        ] {
            vms::submit(&client, vms::create(name, spec, true), PATIENCE).await?;
        }

        // When guests power themselves off, then one stays so, and the other is started again.
        for name in ["usual", "always"] {
            let ready = cluster.wait_for_status(name, "ready").await?;
            power_off_by_itself(&client, &ready).await?;
        }
        let stopped = cluster.wait_for_status("usual", "stopped").await?;
        ensure!(
            stopped.exit == "powered off by the guest itself" && stopped.stays.contains("on-failure"),
            "{stopped:?}"
        );
        cluster
            .wait("the other is started again", PATIENCE, async || {
                (starts(&client, "always").await? == 2)
                    .then_some(())
                    .context("once")
            })
            .await?;

        // When one ends more often than its limit, also where the host hears from no scheduler, then it stays so.
        let first = cluster.wait_for_status("limited", "running").await?;
        cluster.nats().kill()?;
        let pid = |cluster: &Cluster| {
            let guests = cluster.guests();
            let found = guests.into_iter().find(|guest| guest.vm.to_string() == first.id);
            found.context("it does not run")
        };
        pid(cluster)?.kill()?;
        let again = wait_until("it is started again without a scheduler", PATIENCE, async || {
            let again = pid(cluster)?;
            ensure!(again.pid != first.pid, "it is the first one");
            Ok(again)
        })
        .await?;
        cluster.start_nats().await?;
        // Once that start is told: a launch that fails is no end of a guest.
        wait_until("that is told", PATIENCE, async || {
            let known = vms::find(&client, "limited").await?.context("it is there")?;
            ensure!(known.pid == again.pid, "not yet: {known:?}");
            Ok(())
        })
        .await?;
        again.kill()?;
        let stopped = cluster.wait_for_status("limited", "stopped").await?;
        ensure!(
            stopped.stays.contains("1 times in a row, its limit"),
            "{stopped:?}"
        );
        ensure!(starts(&client, "limited").await? == 2, "it was started again");
        let why = cluster.chv(&["vm", "why", "limited"]).await?.done()?;
        ensure!(
            why.stdout.contains("not started again: it was started"),
            "{why:?}"
        );
        let listed = cluster.chv(&["vm", "list"]).await?.done()?;
        ensure!(listed.stdout.contains("not started again"), "{listed:?}");

        // When it is started, then it runs, and has its starts again.
        cluster.chv(&["vm", "start", "limited"]).await?.done()?;
        let running = cluster.wait_for_status("limited", "running").await?;
        ensure!(running.stays.is_empty(), "{running:?}");
        Ok(())
    })
    .await
}
