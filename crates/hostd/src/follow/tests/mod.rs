//! Following over a real nats-server, with a hypervisor that is none: from a command to a process, and through
//! what can get lost on the way.

pub(crate) mod leader;

use std::sync::Arc;

use chv_domain::spec::StopTimeout;
use chv_domain::{ClusterId, Command, Event, ExitReason, HostName, Seq, VmId, VmRef, VmSpec};
use chv_proto::convert::{FeedDelta, VERSION};
use chv_proto::v1;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Follower;
use crate::console::Consoles;
use crate::converge::tests::rig::{Daemon, Rig, until};
use crate::leader::OverNats;
use leader::{Cluster, Nats, PATIENCE, within};

fn host() -> HostName {
    "h1".parse().unwrap()
}

fn create(name: &str) -> Command {
    let spec: VmSpec =
        serde_json::from_str(r#"{"cpu":1,"memory":"64MiB","boot":{"kernel":"vmlinuz"},"stopTimeout":1}"#)
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

fn named(name: &str) -> VmRef {
    VmRef::Name("default".parse().unwrap(), name.parse().unwrap())
}

fn started(event: &Event) -> Option<VmId> {
    match event {
        Event::VmStarted { vm, .. } => Some(*vm),
        _ => None,
    }
}

/// A host whose daemon follows.
struct Host {
    daemon: Daemon,
    stop: CancellationToken,
    following: tokio::task::JoinHandle<()>,
}

impl Host {
    async fn start(rig: &Rig, nats: &Nats) -> Self {
        let client = nats.client("host-h1").await;
        let (connection, connected) = watch::channel(None);
        let leader = Arc::new(OverNats(connected));
        let daemon = rig.daemon_of(leader.clone()).await;
        let stop = CancellationToken::new();
        let follower = Follower {
            client: client.clone(),
            membership: daemon.here.data.membership().unwrap(),
            connection,
            leader,
            name: host(),
            id: daemon.here.data.host(),
            facts: daemon.here.facts.clone(),
            converge: daemon.converge.clone(),
            ledger: daemon.here.ledger.clone(),
            lease: daemon.here.lease.clone(),
        };
        let consoles = Consoles::new(host(), daemon.converge.clone());
        let (ending, tasks) = (stop.clone(), daemon.tasks.clone());
        let following = tokio::spawn(async move {
            tokio::join!(
                follower.run(ending.clone()),
                consoles.serve(client.nats().clone(), tasks, ending)
            );
        });
        Self {
            daemon,
            stop,
            following,
        }
    }

    async fn end(self) {
        self.stop.cancel();
        within("following ends", self.following).await.unwrap();
        self.daemon.end().await;
    }
}

/// A host that follows, with a VM that runs there, and the event that said so.
async fn with_vm(name: &str) -> (Rig, Nats, Cluster, Host, (Seq, VmId)) {
    let (rig, nats) = (Rig::new(), Nats::start().await);
    let cluster = Cluster::start(&nats).await;
    let host = Host::start(&rig, &nats).await;
    registered(&cluster).await;
    cluster.command(create(name)).await.unwrap();
    let began = cluster.event(Seq(1), started).await;
    (rig, nats, cluster, host, began)
}

/// Waits until VMs can be placed on the host.
async fn registered(cluster: &Cluster) {
    cluster
        .event(Seq(1), |event| {
            matches!(event, Event::HostRegistered { .. }).then_some(())
        })
        .await;
}

#[tokio::test]
async fn given_a_command_then_the_vm_runs_and_each_report_becomes_an_event() {
    let (_rig, _nats, cluster, host, (seq, vm)) = with_vm("web").await;
    assert!(cluster.vm(vm).unwrap().is_running());
    let stop = Command::StopVm {
        vm: named("web"),
        timeout: Some(StopTimeout::try_from(5).unwrap()),
    };
    cluster.command(stop).await.unwrap();
    let exited = |event: &Event| {
        matches!(
            event,
            Event::VmExited {
                reason: ExitReason::PoweredOff,
                ..
            }
        )
    };
    cluster.event(seq, |event| exited(event).then_some(())).await;
    cluster
        .command(Command::DeleteVm {
            vm: named("web"),
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
    until("it is forgotten", async || {
        host.daemon.converge.console(vm).is_none()
    })
    .await;
    host.end().await;
}

#[tokio::test]
async fn given_a_leader_of_another_cluster_then_nothing_is_done_for_it_and_guests_run_on() {
    let (rig, nats, cluster, host, (seq, vm)) = with_vm("web").await;
    let (known, id) = (cluster.vm(vm).unwrap(), host.daemon.here.data.host());

    let ours = cluster.becomes(ClusterId::from_bytes([9; 16]));
    cluster.heard_heartbeats(2).await;
    // What another cluster would publish, from further on than this host has followed.
    let everything_gone = FeedDelta {
        host: id,
        prev: Some(Seq(1)),
        feed: Seq(1_000_000),
        vms: vec![],
        gone: vec![vm],
    };
    cluster.publish(&self::host(), &everything_gone).await;
    cluster.heard_heartbeats(2).await;
    assert!(host.daemon.converge.console(vm).unwrap().running);
    let registrations = cluster.count(|event| matches!(event, Event::HostRegistered { .. }));
    assert_eq!(registrations, 1, "registered with another cluster");
    assert_eq!(cluster.vm(vm).unwrap(), known);
    host.end().await;

    // The same for a daemon that was started with the wrong NATS.
    let host = Host::start(&rig, &nats).await;
    cluster.heard_heartbeats(2).await;
    assert!(host.daemon.converge.console(vm).unwrap().running);

    cluster.becomes(ours);
    cluster
        .command(Command::KillVm { vm: named("web") })
        .await
        .unwrap();
    cluster
        .event(seq, |event| matches!(event, Event::VmExited { .. }).then_some(()))
        .await;
    host.end().await;
}

#[tokio::test]
async fn given_replicas_that_tell_it_in_a_version_that_it_does_not_know_then_guests_run_on_until_they_do() {
    let (rig, nats, cluster, host, (seq, vm)) = with_vm("web").await;
    // given replicas of a later version, which want the guest's end,
    cluster.speaks(VERSION + 1);
    let ended = |event: &Event| matches!(event, Event::VmExited { .. });
    cluster
        .command(Command::KillVm { vm: named("web") })
        .await
        .unwrap();
    // when heartbeats are answered and the slice is fetched, also by a daemon that begins anew,
    cluster.heard_heartbeats(2).await;
    host.end().await;
    let host = Host::start(&rig, &nats).await;
    cluster.heard_heartbeats(2).await;
    let client = nats.client("host-h1").await;
    let id = host.daemon.here.data.host();
    let slice = client.slice(&self::host(), id, Seq::ZERO, PATIENCE).await;
    // then none of it counts, and it is said which versions there are;
    let refused = slice.unwrap_err().to_string();
    assert!(
        refused.contains("version: is 2, and 1 is known here"),
        "{refused}"
    );
    assert!(host.daemon.converge.console(vm).unwrap().running);
    assert!(!host.daemon.here.lease.may_start());
    assert_eq!(cluster.count(ended), 0);
    // when they tell it in one that the host knows, then it does it.
    cluster.speaks(VERSION);
    cluster.event(seq, |event| ended(event).then_some(())).await;
    host.end().await;
}

#[tokio::test]
async fn given_a_change_that_is_lost_then_the_heartbeat_shows_it_and_it_is_made_good() {
    let (_rig, _nats, cluster, host, (seq, _)) = with_vm("first").await;

    cluster.mute(true);
    cluster.command(create("second")).await.unwrap();
    let (seq, _) = cluster.event(seq.next(), started).await;
    // Now with a change after the lost one: it counts before what was lost is made good.
    cluster
        .command(Command::KillVm { vm: named("first") })
        .await
        .unwrap();
    cluster.mute(false);
    cluster.command(create("third")).await.unwrap();
    cluster.event(seq.next(), started).await;
    cluster
        .event(seq, |event| matches!(event, Event::VmExited { .. }).then_some(()))
        .await;
    host.end().await;
}

#[tokio::test]
async fn given_nats_lost_and_back_then_guests_run_on_and_what_was_missed_is_made_good() {
    let (rig, mut nats, cluster, host, (seq, first)) = with_vm("first").await;

    nats.kill();
    cluster.command(create("second")).await.unwrap();
    assert!(host.daemon.converge.console(first).unwrap().running);
    nats.restart();
    cluster.event(seq.next(), started).await;
    assert_eq!(cluster.count(|event| matches!(event, Event::VmExited { .. })), 0);
    assert_eq!(*rig.fake.launches.lock().unwrap(), 2);
    host.end().await;
}

#[tokio::test]
async fn given_a_process_that_ends_while_nats_is_away_then_it_is_started_again_and_told_later() {
    let (rig, mut nats, cluster, host, (seq, vm)) = with_vm("web").await;

    nats.kill();
    let run_dir = host.daemon.here.data.run_dir(vm);
    let instance = crate::hypervisor::Instance::find(run_dir).await.unwrap().unwrap();
    instance.process.kill().unwrap();
    until("it is started again", async || {
        *rig.fake.launches.lock().unwrap() == 2
    })
    .await;
    nats.restart();
    cluster
        .event(seq, |event| {
            matches!(
                event,
                Event::VmExited {
                    reason: ExitReason::Vanished,
                    ..
                }
            )
            .then_some(())
        })
        .await;
    cluster.event(seq.next(), started).await;
    host.end().await;
}

#[tokio::test]
async fn given_a_console_then_it_is_read_as_it_grows_and_unknown_vms_and_strangers_are_refused() {
    let (_rig, nats, _cluster, running, (_, vm)) = with_vm("web").await;
    let alice = nats.client("alice").await;
    let read = |offset, wait_ms| v1::ConsoleRead {
        vm: vm.to_string(),
        offset,
        wait_ms,
        tail: None,
    };

    let empty = alice.console_read(&host(), read(0, 0)).await.unwrap();
    assert_eq!((empty.data.len(), empty.running), (0, true));
    let log = running.daemon.here.data.run_dir(vm).console_log();
    let name = host();
    let (chunk, ()) = tokio::join!(alice.console_read(&name, read(0, 10_000)), async {
        std::fs::write(&log, "login: ").unwrap();
    });
    assert_eq!(&chunk.unwrap().data[..], b"login: ");

    let write = v1::ConsoleWrite {
        vm: vm.to_string(),
        data: b"root\n"[..].into(),
    };
    // This hypervisor has no console to type on.
    let refused = alice.console_write(&host(), write).await;
    assert!(code(&refused.map(|written| written.refused)) == "state");
    let other = v1::ConsoleRead {
        vm: VmId::from_bytes([8; 16]).to_string(),
        ..read(0, 0)
    };
    assert_eq!(
        code(
            &alice
                .console_read(&host(), other)
                .await
                .map(|chunk| chunk.refused)
        ),
        "not_found"
    );
    let junk = v1::ConsoleRead {
        vm: "hello".to_owned(),
        ..read(0, 0)
    };
    assert_eq!(
        code(&alice.console_read(&host(), junk).await.map(|chunk| chunk.refused)),
        "malformed"
    );
    running.end().await;
}

/// The code of a refusal, as the client gives it or as it was sent.
fn code(answer: &Result<Option<v1::Refused>, chv_proto::client::QueryError>) -> String {
    match answer {
        Ok(Some(refused)) => refused.code.clone(),
        Err(chv_proto::client::QueryError::Refused(refusal)) => refusal.code.clone(),
        other => panic!("not refused: {other:?}"),
    }
}
