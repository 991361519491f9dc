//! What the demo shows, and the check that each step really happened. A step that did not is an error with its name.

use anyhow::{Context, Result, ensure};
use chv_e2e::{Cluster, contiguous, trail, vms};
use chv_proto::v1;

use crate::screen::{Screen, tell};

pub(crate) async fn all(cluster: &mut Cluster, screen: &Screen) -> Result<()> {
    start(cluster, screen)
        .await
        .context("step 1, the cluster, did not happen")?;
    first_vm(cluster, screen)
        .await
        .context("step 2, the first VM, did not happen")?;
    look(cluster, screen)
        .await
        .context("step 3, the trail, did not happen")?;
    failover(cluster, screen)
        .await
        .context("step 4, the failover, did not happen")?;
    one_trail(cluster, screen)
        .await
        .context("step 5, one trail without a hole, did not happen")
}

async fn start(cluster: &mut Cluster, screen: &Screen) -> Result<()> {
    screen.step(1, "A cluster: NATS, three replicas of the scheduler, two hosts");
    screen.say("All of it on loopback, below one directory, and under this program: Ctrl-C ends it whole.");
    let doing = "nats-server, with the users and permissions of deploy/nats";
    let starting = async {
        cluster.start_nats().await?;
        let url = cluster.nats_url();
        let anonymous = async_nats::connect(url).await;
        ensure!(anonymous.is_err(), "it lets people in who have no name");
        Ok(((), format!("listens on {url}, and lets nobody in without a name")))
    };
    screen.during(doing, starting).await?;
    // The first host looks at its hypervisors while the replicas elect their leader.
    cluster.start_schedulers()?;
    cluster.start_first_host()?;
    let electing = async {
        let leader = cluster.wait_for_leader().await?;
        Ok(((), format!("replica {leader} leads")))
    };
    screen
        .during("three chv-scheduler, each with its own log", electing)
        .await?;
    let doing = "two chv-hostd; the first boots a probe guest with every hypervisor";
    let probing = async {
        cluster.start_other_hosts().await?;
        let hosts = cluster.wait_for_hosts().await?;
        let hypervisors = hosts.iter().map(|host| format!("{}: {}", host.name, kinds(host)));
        Ok(((), hypervisors.collect::<Vec<_>>().join(", ")))
    };
    screen.during(doing, probing).await?;
    screen.chv(cluster, &["status"]).await.map(drop)
}

fn kinds(host: &v1::Host) -> String {
    let hypervisors = host.facts.iter().flat_map(|facts| &facts.hypervisors);
    let kinds: Vec<&str> = hypervisors.map(|hypervisor| hypervisor.kind.as_str()).collect();
    kinds.join(" and ")
}

async fn first_vm(cluster: &mut Cluster, screen: &Screen) -> Result<()> {
    screen.step(2, "One command, and a kernel boots");
    screen.say("The leader decides, three replicas flush the events, the host is told, QEMU starts uOS.");
    screen
        .chv(cluster, &["apply", "-f", "examples/hello.yaml", "--no-wait"])
        .await?;
    let console = screen
        .chv(cluster, &["console", "hello", "--until-ready"])
        .await?;
    ensure!(
        console.contains("ready"),
        "the guest did not say on its console that it is ready"
    );
    cluster.wait_for_status("hello", "ready").await.map(drop)
}

async fn look(cluster: &mut Cluster, screen: &Screen) -> Result<()> {
    screen.step(3, "What there is, and how it came to be");
    let listed = screen.chv(cluster, &["vm", "list"]).await?;
    ensure!(listed.contains("hello"), "the list does not show hello");
    screen.chv(cluster, &["vm", "get", "hello"]).await?;
    screen.chv(cluster, &["events", "--vm", "hello"]).await?;
    let client = cluster.client("alice").await?;
    let events = trail(&client, Some(&vms::named("hello"))).await?;
    for kind in ["created", "placed", "started", "ready"] {
        let event = events.iter().find(|event| event.kind == kind);
        let event = event.with_context(|| format!("the trail has no `{kind}`"))?;
        let told = event.seq > 0 && event.time_us > 0 && !event.actor.is_empty() && !event.command.is_empty();
        ensure!(told, "`{kind}` lacks its number, time, actor or cause");
    }
    Ok(())
}

async fn failover(cluster: &mut Cluster, screen: &Screen) -> Result<()> {
    let leader = cluster.leader().await?;
    screen.step(4, "The leader is killed, and a second VM is made all the same");
    let pid = cluster.scheduler(leader).pid().context("the leader runs")?;
    screen.say(&format!("kill -9 {pid}: replica {leader}, which leads"));
    cluster.scheduler(leader).kill()?;
    let create = [
        "vm",
        "create",
        "second",
        "--memory",
        "128MiB",
        "--kernel",
        "uos/vmlinuz",
        "--initramfs",
        "uos/initramfs.cpio",
    ];
    screen.chv(cluster, &create).await?;
    let running = ["hello", "second"];
    for name in running {
        cluster.wait_for_status(name, "ready").await?;
    }
    let guests = cluster.guests().len();
    ensure!(
        guests == running.len(),
        "{guests} guests run instead of {}",
        running.len()
    );
    let next = cluster.wait_for_leader().await?;
    ensure!(next != leader, "the killed replica still leads");
    screen.say(&format!(
        "Replica {next} leads now. The guest `hello` has not noticed any of it."
    ));
    let restarting = async {
        cluster.scheduler(leader).start()?;
        let agreed = cluster.wait_for_agreement().await?;
        Ok(((), format!("it has caught up to event {}", agreed.applied_seq)))
    };
    screen
        .during(&format!("replica {leader} again, from its disk"), restarting)
        .await
}

async fn one_trail(cluster: &mut Cluster, screen: &Screen) -> Result<()> {
    screen.step(5, "One trail without a hole");
    screen.chv(cluster, &["events"]).await?;
    let agreed = cluster.wait_for_agreement().await?;
    let client = cluster.client("alice").await?;
    let events = trail(&client, None).await?;
    let last = contiguous(&events)?;
    let terms: Vec<u64> = events.iter().map(|event| event.term).collect();
    let terms = terms.chunk_by(|one, other| one == other).count();
    ensure!(terms > 1, "all events are of one leader's term");
    ensure!(
        last >= agreed.applied_seq,
        "the trail ends at {last} of {}",
        agreed.applied_seq
    );
    let digest: String = agreed
        .digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    screen.say(&format!(
        "Events 1 to {last}, none missing, decided by {terms} leaders one after the other."
    ));
    screen.say(&format!(
        "All three replicas hold the same state: its SHA-256 begins with {digest}."
    ));
    screen.chv(cluster, &["status"]).await.map(drop)
}

/// Leaves the cluster to whoever watches.
pub(crate) fn what_next(cluster: &Cluster, screen: &Screen) -> Result<()> {
    screen.step(6, "Yours to try");
    screen.say("The cluster stays up until Ctrl-C. In another terminal, paste these three lines:\n");
    let programs = chv_e2e::find_program("chv")?;
    let programs = programs.parent().context("a program lies in a directory")?;
    tell!("cd {}", chv_e2e::workspace().display());
    tell!("export PATH=\"{}:$PATH\"", programs.display());
    let variables = cluster.environment_of("alice")?;
    let variables = variables.iter().filter(|(name, _)| name != "CHV_RIG");
    let variables: Vec<String> = variables
        .map(|(name, value)| format!("{name}='{value}'"))
        .collect();
    tell!("export {}\n", variables.join(" "));
    let guest = cluster.guests().into_iter().next().context("a guest runs")?;
    let kill = format!("kill -9 {}", guest.pid);
    screen.say("Then, for example:\n");
    for (command, what) in [
        ("chv events -f", "everything that happens, as it happens"),
        ("chv console hello", "talk to the guest: type `help`"),
        (
            "chv vm stop hello",
            "the power button; `chv vm start hello` boots it again",
        ),
        ("chv host cordon h1", "keep new VMs away from a host"),
        (
            kill.as_str(),
            "kill the guest behind its host's back, and look at the events",
        ),
    ] {
        tell!("   {command:<26} # {what}");
    }
    tell!();
    Ok(())
}
