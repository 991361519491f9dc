//! Which VMs are placed elsewhere when their host's lease is over, and what their log then says.

use chv_domain::spec::OnHostLoss;
use chv_domain::*;

use crate::history::*;

/// A cluster of `hosts` in which `web` runs and asks for failover, and the host that it runs on.
fn running(hosts: u128) -> (Cluster, VmId, HostId) {
    let mut cluster = Cluster::with_hosts(hosts);
    let spec = VmSpec {
        on_host_loss: OnHostLoss::Failover,
        ..spec(1, 128)
    };
    cluster.send("alice", create("web", spec)).unwrap();
    let vm = cluster.state.resolve(&named("web")).unwrap().id;
    cluster.report(vm, started(100)).unwrap();
    let host = cluster.state.vm(vm).unwrap().placement.unwrap().host;
    (cluster, vm, host)
}

fn lost(cluster: &Cluster, vm: VmId) -> Command {
    let epoch = cluster.state.vm(vm).unwrap().placement.unwrap().epoch;
    Command::FailOverVm { vm, epoch }
}

#[test]
fn given_a_vm_that_asks_when_its_host_is_lost_then_it_ended_there_and_is_placed_elsewhere() {
    let (mut cluster, vm, host) = running(2);
    let command = lost(&cluster, vm);
    let decided = cluster.send("replica/1", command.clone()).unwrap();

    assert_eq!(kinds(&decided), ["exited", "placed"]);
    let Decided::Record(record) = decided else {
        panic!()
    };
    assert_eq!(record.actor.to_string(), "replica/1");
    assert_eq!(record.cause.verb, Verb::VmFailOver);
    let now = cluster.state.vm(vm).unwrap();
    assert_ne!(now.placement.unwrap().host, host);
    assert_eq!(now.placement.unwrap().epoch, Epoch(record.last()));
    assert_eq!(now.status(), Status::Starting);
    assert!(matches!(
        &now.phase,
        Phase::Stopped {
            reason: ExitReason::LeaseEnded,
            ..
        }
    ));
    // when it is asked for again under the old grant, or the old host speaks of it, then neither is heard.
    assert_eq!(
        cluster.send("replica/1", command).unwrap_err().code,
        RejectionCode::StaleEpoch
    );
    let old = cluster.state.host(host).unwrap();
    assert!(old.vms.is_empty() && old.reserved == Capacity::default());
}

#[test]
fn given_a_vm_that_does_not_ask_or_is_stopped_when_its_host_is_lost_then_it_stays() {
    let mut cluster = Cluster::with_hosts(2);
    let vm = cluster.running("web");
    let command = lost(&cluster, vm);
    assert_eq!(
        cluster.send("replica/1", command).unwrap_err().code,
        RejectionCode::State
    );

    let (mut cluster, vm, _) = running(2);
    cluster
        .send("alice", Command::KillVm { vm: named("web") })
        .unwrap();
    let command = lost(&cluster, vm);
    assert_eq!(
        cluster.send("replica/1", command).unwrap_err().code,
        RejectionCode::State
    );
}

#[test]
fn given_no_room_elsewhere_then_the_vm_says_so_once_and_moves_when_there_is_room() {
    let (mut cluster, vm, host) = running(2);
    let other = if host == host_id(1) { "h2" } else { "h1" };
    cluster
        .send(
            "alice",
            Command::CordonHost {
                host: other.parse().unwrap(),
            },
        )
        .unwrap();
    let command = lost(&cluster, vm);
    assert_eq!(
        kinds(&cluster.send("replica/1", command.clone()).unwrap()),
        ["blocked"]
    );
    let trouble = cluster.state.vm(vm).unwrap().trouble.clone().unwrap().reason;
    assert!(
        trouble.contains("its host is lost") && trouble.contains("cordoned"),
        "{trouble}"
    );
    assert!(kinds(&cluster.send("replica/1", command.clone()).unwrap()).is_empty());

    cluster
        .send(
            "alice",
            Command::UncordonHost {
                host: other.parse().unwrap(),
            },
        )
        .unwrap();
    assert_eq!(
        kinds(&cluster.send("replica/1", command).unwrap()),
        ["exited", "placed"]
    );
    assert_eq!(cluster.state.vm(vm).unwrap().trouble, None);
}

#[test]
fn given_another_obstacle_or_other_words_of_its_host_then_the_vm_says_anew_why_it_stays() {
    let (mut cluster, vm, host) = running(2);
    let other = if host == host_id(1) {
        host_id(2)
    } else {
        host_id(1)
    };
    let name = cluster.state.host(other).unwrap().name.clone();
    cluster
        .send("alice", Command::CordonHost { host: name.clone() })
        .unwrap();
    let command = lost(&cluster, vm);
    let mut told = Vec::new();
    let mut try_again = |cluster: &mut Cluster| {
        assert_eq!(
            kinds(&cluster.send("replica/1", command.clone()).unwrap()),
            ["blocked"]
        );
        assert!(kinds(&cluster.send("replica/1", command.clone()).unwrap()).is_empty());
        told.push(cluster.state.vm(vm).unwrap().trouble.clone().unwrap().reason);
    };
    try_again(&mut cluster);

    // When the host itself speaks in between, as one that was only cut off does, even in words like these,
    let own = "its host is lost, and so on".to_owned();
    cluster.report(vm, Observation::Blocked(own)).unwrap();
    try_again(&mut cluster);

    // and when the other one, open again, is not alive,
    cluster
        .send("alice", Command::UncordonHost { host: name })
        .unwrap();
    cluster.alive.remove(&other);
    try_again(&mut cluster);

    // then each time it is said what stands in the way now.
    let [cordoned, again, not_heard_of] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(cordoned, again);
    assert!(
        not_heard_of.contains("not heard of") && !not_heard_of.contains("cordoned"),
        "{not_heard_of}"
    );
}

#[test]
fn given_anybody_but_a_replica_then_it_is_not_heard() {
    let (mut cluster, vm, _) = running(2);
    for actor in ["alice", "host/h1"] {
        let command = lost(&cluster, vm);
        assert_eq!(
            cluster.send(actor, command).unwrap_err().code,
            RejectionCode::NotPermitted
        );
    }
}
