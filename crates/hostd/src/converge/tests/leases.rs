//! A VM that asks for failover, on a host that has a lease, hasn't, and loses it.

use std::sync::Arc;

use chv_domain::spec::OnHostLoss;
use chv_domain::{LeaseDuration, Observation, Power, Seq, VmSpec};

use super::rig::{Daemon, Rig, desired};
use super::started_pid;
use crate::converge::Wish;
use crate::lease::{self, Grant, Lease};

fn want(daemon: &Daemon, on_host_loss: OnHostLoss) {
    let vm = desired(Power::Running, 5, 6);
    let spec = VmSpec {
        on_host_loss,
        ..vm.spec.clone()
    };
    daemon
        .converge
        .wish(Wish::Vm(Arc::new(chv_domain::DesiredVm { spec, ..vm })));
}

fn grant(feed: u64) -> Grant {
    Grant {
        sent: lease::now(),
        lease: LeaseDuration::LONGEST,
        feed: Seq(feed),
    }
}

#[tokio::test]
async fn given_no_lease_or_a_feed_that_is_behind_then_it_is_started_only_when_both_are_there() {
    let rig = Rig::new();
    let mut daemon = rig.daemon().await;
    want(&daemon, OnHostLoss::Failover);
    daemon.here.lease.followed(Seq(5));
    daemon.here.lease.granted(grant(6)).await;
    assert!(!daemon.here.lease.may_start() && daemon.told_nothing_more());
    assert_eq!(rig.process().await, None);

    daemon.here.lease.followed(Seq(6));
    assert_eq!(started_pid(daemon.told().await), rig.process().await.unwrap().pid);
    daemon.end().await;
}

#[tokio::test]
async fn given_a_lease_that_ended_while_no_daemon_ran_then_the_next_one_ends_the_guest_first_and_no_other() {
    for (asks, runs_on) in [(OnHostLoss::Failover, false), (OnHostLoss::Stay, true)] {
        // given a guest that runs, and a daemon that ends,
        let rig = Rig::new();
        let mut daemon = rig.daemon().await;
        daemon.here.lease.granted(grant(0)).await;
        want(&daemon, asks);
        assert!(matches!(daemon.told().await, Observation::Started { .. }));
        let shared = daemon.here.data.lease();
        daemon.end().await;
        // when the next one begins within the lease, then it runs on;
        Lease::begin(shared.clone(), None).unwrap();
        assert!(rig.process().await.is_some());
        // when it begins after, then what asks for failover is ended.
        std::fs::remove_file(shared.data.join("lease")).unwrap();
        Lease::begin(shared, None).unwrap();
        assert_eq!(rig.process().await.is_some(), runs_on, "{asks}");
    }
}
