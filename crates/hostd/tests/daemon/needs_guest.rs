//! Guests that really boot, and what happens to them.

use std::time::Duration;

use chv_domain::spec::StopTimeout;
use chv_domain::{Command, Event, ExitReason, Seq, VmId, VmRef, VmSpec};
use rustix::process::{Pid, Signal, kill_process};

use crate::leader::{Cluster, Nats, within};
use crate::program::{Host, processes_in};

pub(crate) fn create(name: &str, kernel: &str) -> Command {
    let spec: VmSpec = serde_json::from_value(serde_json::json!({
        "cpu": 1,
        "memory": "256MiB",
        "boot": {"kernel": kernel, "initramfs": "uos/initramfs.cpio", "cmdline": "panic=-1"},
    }))
    .unwrap();
    Command::CreateVm {
        project: "default".parse().unwrap(),
        name: name.parse().unwrap(),
        labels: Default::default(),
        annotations: Default::default(),
        protected: false,
        spec: spec.into(),
        start: true,
    }
}

fn web() -> VmRef {
    VmRef::Name("default".parse().unwrap(), "web".parse().unwrap())
}

pub(crate) async fn registered(cluster: &Cluster) {
    let with_hypervisor = |event: &Event| match event {
        Event::HostRegistered { facts, .. } | Event::HostFactsChanged { facts, .. } => {
            (!facts.hypervisors.is_empty()).then_some(())
        }
        _ => None,
    };
    cluster.event(Seq(1), with_hypervisor).await;
}

pub(crate) async fn started(cluster: &Cluster, from: Seq) -> (Seq, VmId, u32, u64) {
    let started = |event: &Event| match event {
        Event::VmStarted { vm, pid, took_us, .. } => Some((*vm, *pid, *took_us)),
        _ => None,
    };
    let (seq, (vm, pid, took_us)) = cluster.event(from, started).await;
    (seq, vm, pid, took_us)
}

pub(crate) async fn ready(cluster: &Cluster, from: Seq) -> Seq {
    cluster
        .event(from, |event| matches!(event, Event::VmReady { .. }).then_some(()))
        .await
        .0
}

async fn ended(cluster: &Cluster, from: Seq) -> (Seq, ExitReason) {
    let ended = |event: &Event| match event {
        Event::VmExited { reason, .. } => Some(reason.clone()),
        _ => None,
    };
    cluster.event(from, ended).await
}

#[tokio::test(flavor = "multi_thread")]
async fn outlives_the_daemon_is_adopted_and_stops_gracefully() {
    let nats = Nats::start().await;
    let cluster = Cluster::start(&nats).await;
    let mut host = Host::start(&nats);
    registered(&cluster).await;
    cluster.command(create("web", "uos/vmlinuz")).await.unwrap();
    let (seq, vm, pid, took_us) = started(&cluster, Seq(1)).await;
    eprintln!("from the first step to the hypervisor's word: {took_us} us");
    let seq = ready(&cluster, seq).await;

    // When the daemon is killed, the guest runs on, and the next daemon adopts it with its uptime.
    host.kill();
    let told = host.console(vm).len();
    assert!(
        told > 0
            && processes_in(&host.path("h1"))
                .iter()
                .any(|(found, _)| *found == pid as i32)
    );
    host.start_again();
    let adopted = |event: &Event| match event {
        Event::VmAdopted { pid, uptime_ms, .. } => Some((*pid, *uptime_ms)),
        _ => None,
    };
    let (seq, (adopted, uptime_ms)) = cluster.event(seq, adopted).await;
    assert_eq!(adopted, pid);
    assert!(uptime_ms > 1000, "{uptime_ms}");

    // The same on SIGTERM.
    host.terminate().await;
    assert!(
        processes_in(&host.path("h1"))
            .iter()
            .any(|(found, _)| *found == pid as i32)
    );
    host.start_again();
    let again = |event: &Event| matches!(event, Event::VmAdopted { .. }).then_some(());
    let (seq, ()) = cluster.event(seq.next(), again).await;
    assert_eq!(cluster.count(|event| matches!(event, Event::VmStarted { .. })), 1);

    // An adopted guest is asked to power off, and does.
    let timeout = Some(StopTimeout::try_from(60).unwrap());
    cluster
        .command(Command::StopVm { vm: web(), timeout })
        .await
        .unwrap();
    let (seq, reason) = ended(&cluster, seq).await;
    assert_eq!(reason, ExitReason::PoweredOff);
    assert!(processes_in(&host.path("h1/vms")).is_empty());

    cluster
        .command(Command::DeleteVm {
            vm: web(),
            force: false,
            keep: None,
        })
        .await
        .unwrap();
    cluster
        .event(seq, |event| {
            matches!(event, Event::VmDeleted { .. }).then_some(())
        })
        .await;
    assert!(!host.path("h1/vms").join(vm.to_string()).exists());
    host.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn is_started_again_when_killed_behind_the_daemons_back() {
    let nats = Nats::start().await;
    let cluster = Cluster::start(&nats).await;
    let host = Host::start(&nats);
    registered(&cluster).await;
    cluster.command(create("web", "uos/vmlinuz")).await.unwrap();
    let (seq, vm, pid, _) = started(&cluster, Seq(1)).await;
    let seq = ready(&cluster, seq).await;

    kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
    let last_lines = |event: &Event| match event {
        Event::VmExited { console, .. } => Some(console.clone()),
        _ => None,
    };
    let (_, console) = cluster.event(seq, last_lines).await;
    assert!(
        console.contains("chv-uos: ready") && console.len() <= 2048,
        "{console}"
    );
    let (seq, reason) = ended(&cluster, seq).await;
    assert_eq!(reason, ExitReason::Vanished);
    let (seq, again, other, _) = started(&cluster, seq).await;
    assert_eq!(again, vm);
    assert_ne!(other, pid);
    ready(&cluster, seq).await;
    drop(host);
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_for_a_kernel_that_is_not_there_yet() {
    let nats = Nats::start().await;
    let cluster = Cluster::start(&nats).await;
    let host = Host::start(&nats);
    registered(&cluster).await;
    cluster.command(create("web", "later/vmlinuz")).await.unwrap();
    let blocked = |event: &Event| match event {
        Event::VmBlocked { reason, .. } => Some(reason.clone()),
        _ => None,
    };
    let (seq, reason) = cluster.event(Seq(1), blocked).await;
    let kernel = host.path("images/later/vmlinuz");
    assert!(reason.contains(kernel.to_str().unwrap()), "{reason}");

    std::fs::create_dir(host.path("images/later")).unwrap();
    std::fs::copy(host.path("images/uos/vmlinuz"), host.path("kernel")).unwrap();
    std::fs::rename(host.path("kernel"), kernel).unwrap();
    let (seq, ..) = started(&cluster, seq).await;
    ready(&cluster, seq).await;
    assert_eq!(cluster.count(|event| matches!(event, Event::VmBlocked { .. })), 1);
    drop(host);
}

/// Many at once: each is started once, and all of them are looked after by the daemon that comes after a kill -9 in
/// the midst of it.
#[tokio::test(flavor = "multi_thread")]
async fn many_are_each_started_once_though_the_daemon_is_killed_meanwhile() {
    const COUNT: usize = 6;
    let nats = Nats::start().await;
    let cluster = Cluster::start(&nats).await;
    let mut host = Host::start(&nats);
    registered(&cluster).await;
    for number in 0..COUNT {
        cluster
            .command(create(&format!("vm{number}"), "uos/vmlinuz"))
            .await
            .unwrap();
    }
    started(&cluster, Seq(1)).await;
    host.kill();
    host.start_again();
    within("each VM has a process, and one only", async {
        loop {
            let running = processes_in(&host.path("h1/vms"));
            assert!(running.len() <= COUNT, "{running:#?}");
            let known = cluster.running();
            if running.len() == COUNT && known.len() == COUNT {
                let mut pids: Vec<u32> = running.iter().map(|(pid, _)| *pid as u32).collect();
                let mut known = known;
                pids.sort_unstable();
                known.sort_unstable();
                if pids == known {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    drop(host);
}
