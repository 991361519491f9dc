//! A VM that asks for failover, on a host that has a lease, hasn't, and loses it.

use std::sync::Arc;
use std::time::Duration;

use chv_domain::spec::OnHostLoss;
use chv_domain::{ExitReason, LeaseDuration, Observation, Power, Run, Seq, VmSpec};

use super::rig::{Daemon, Rig, Trouble, desired, until};
use super::started_pid;
use crate::converge::Wish;
use crate::lease::guard::Shared;
use crate::lease::{self, Grant, Lease, SinceBoot};

fn want(daemon: &Daemon, on_host_loss: OnHostLoss) {
    let vm = desired(Power::Running, 5, 6);
    let spec = VmSpec {
        on_host_loss,
        ..vm.spec.as_ref().clone()
    };
    daemon.converge.wish(Wish::Vm(Arc::new(chv_domain::DesiredVm {
        spec: spec.into(),
        ..vm
    })));
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

/// A grant with only this much of it left.
fn grant_with(left: Duration) -> Grant {
    let sent = SinceBoot(lease::now().0 + left - LeaseDuration::LONGEST.runs_for());
    Grant { sent, ..grant(0) }
}

#[tokio::test]
async fn given_a_lease_that_ends_between_the_last_look_at_it_and_the_start_of_a_guest_then_that_guest_is_ended()
 {
    // Also when it was granted again before the guest was there, and nobody ends guests any more.
    for again in [true, false] {
        // given a launch that stands still after the last look at the lease,
        let rig = Rig::new();
        let mut daemon = rig.daemon().await;
        let lease = daemon.here.lease.clone();
        rig.fake.troubles.lock().unwrap().push_back(Trouble::Stands);
        lease.granted(grant_with(Duration::from_secs(2))).await;
        want(&daemon, OnHostLoss::Failover);
        let begun = async || *rig.fake.launches.lock().unwrap() == 1;
        until("the launch has begun", begun).await;
        // when the lease ends before it goes on,
        until("the lease is over", async || !lease.is_held()).await;
        if again {
            lease.granted(grant(0)).await;
            assert!(lease.is_held());
        }
        rig.fake.goes_on.add_permits(1);
        // then the guest is ended, and started again under the next lease.
        let pid = started_pid(daemon.told().await);
        assert_eq!(
            daemon.told().await,
            Observation::Exited(ExitReason::LeaseEnded, String::new(), Run::default())
        );
        if !again {
            assert_eq!(rig.process().await, None);
            lease.granted(grant(0)).await;
        }
        assert_ne!(started_pid(daemon.told().await), pid);
        daemon.end().await;
    }
}

#[tokio::test]
async fn given_a_lease_that_is_granted_again_before_the_guest_s_end_is_seen_then_it_is_told_to_have_ended_with_it()
 {
    // given a guest, and a lease with some seconds left,
    let rig = Rig::new();
    let mut daemon = rig.daemon().await;
    let lease = daemon.here.lease.clone();
    lease.granted(grant_with(Duration::from_secs(4))).await;
    want(&daemon, OnHostLoss::Failover);
    let pid = started_pid(daemon.told().await);
    // when it ends, and is granted again before anything else goes on in the daemon,
    until("the lease is over", async || !lease.is_held()).await;
    futures::executor::block_on(lease.granted(grant(0)));
    assert!(lease.is_held());
    // then the guest has ended with the lease, and is started again.
    assert_eq!(
        daemon.told().await,
        Observation::Exited(ExitReason::LeaseEnded, String::new(), Run::default())
    );
    assert_ne!(started_pid(daemon.told().await), pid);
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

#[tokio::test]
async fn given_a_disk_that_stalls_while_the_guard_is_started_then_the_daemon_s_tasks_go_on() {
    // given a file of the guard's that can't be opened until somebody reads it,
    let dir = tempfile::tempdir().unwrap();
    let shared = Shared {
        data: dir.path().to_owned(),
        vms: dir.path().join("vms"),
    };
    std::fs::create_dir(&shared.vms).unwrap();
    let log = dir.path().join("guard.log");
    let made = std::process::Command::new("mkfifo").arg(&log).status().unwrap();
    assert!(made.success());
    let lease = Arc::new(Lease::begin(shared, Some("true".into())).unwrap());
    // when the guard is started, and the disk goes on only when a task of the daemon's has asked for the lease,
    let (asked, disk) = std::sync::mpsc::channel();
    let disk = std::thread::spawn(move || {
        let asked = disk.recv_timeout(Duration::from_secs(10));
        drop(std::fs::File::open(log).unwrap());
        asked.is_ok()
    });
    let ask = async {
        lease.granted(grant(0)).await;
        assert!(lease.is_held());
        asked.send(()).unwrap();
    };
    let (guarded, ()) = tokio::join!(lease.guarded(), ask);
    // then it had an answer meanwhile.
    guarded.unwrap();
    assert!(disk.join().unwrap());
}
