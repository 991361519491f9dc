//! What becomes of guests when the daemon ends, and another one begins.

use std::sync::Arc;

use chv_domain::{Epoch, ExitReason, Observation, Power, Run, Seq, StopHow};

use super::rig::{Rig, VM, desired, until};
use super::{graceful, started, started_pid};
use crate::converge::Wish;
use crate::hypervisor::Process;

/// A guest that a daemon started before it ended; its process id.
async fn left_running(rig: &Rig) -> u32 {
    let mut daemon = rig.daemon().await;
    let pid = started(&mut daemon).await;
    daemon.end().await;
    pid
}

/// Kills the guest while no daemon looks.
async fn killed(rig: &Rig, pid: u32) {
    Process::of(pid).unwrap().unwrap().kill().unwrap();
    until("it is gone", async || rig.process().await.is_none()).await;
}

#[tokio::test]
async fn given_a_running_guest_when_the_daemon_is_restarted_then_it_runs_on_and_is_adopted() {
    let rig = Rig::new();
    let pid = left_running(&rig).await;
    assert_eq!(rig.process().await.unwrap().pid, pid);

    let mut daemon = rig.daemon().await;
    let Observation::Adopted { pid: adopted, .. } = daemon.told().await else {
        panic!("not adopted")
    };
    assert_eq!(adopted, pid);
    daemon
        .converge
        .wish(Wish::All(vec![Arc::new(desired(Power::Running, 5, 6))], Seq(6)));
    daemon.want(graceful(), 7);
    // This daemon's child too, but only by the accident of this test.
    assert_eq!(
        daemon.told().await,
        Observation::Exited(ExitReason::PoweredOff, String::new(), Run::default())
    );
    assert_eq!(*rig.fake.launches.lock().unwrap(), 1);
    daemon.end().await;
}

#[tokio::test]
async fn given_a_ledger_that_is_lost_when_the_daemon_is_restarted_then_the_guest_is_found_all_the_same() {
    let rig = Rig::new();
    let pid = left_running(&rig).await;
    std::fs::remove_dir_all(rig.path("h1/ledger")).unwrap();

    let mut daemon = rig.daemon().await;
    let (epoch, _, told) = daemon.told_fully().await;
    assert_eq!(epoch, Epoch(Seq(5)), "the grant is in the VM's directory");
    assert!(
        matches!(told, Observation::Adopted { pid: adopted, .. } if adopted == pid),
        "{told:?}"
    );
    daemon.end().await;
}

#[tokio::test]
async fn given_a_directory_that_is_lost_too_when_the_daemon_is_restarted_then_no_second_process_is_started() {
    let rig = Rig::new();
    let pid = left_running(&rig).await;
    std::fs::remove_dir_all(rig.path("h1/ledger")).unwrap();
    std::fs::remove_dir_all(rig.path("h1/vms")).unwrap();

    let mut daemon = rig.daemon().await;
    daemon.want(Power::Running, 6);
    let told = daemon.told().await;
    assert!(
        matches!(told, Observation::Adopted { pid: adopted, .. } if adopted == pid),
        "{told:?}"
    );
    daemon.want(Power::Stopped(StopHow::Hard), 7);
    assert_eq!(
        daemon.told().await,
        Observation::Exited(ExitReason::Killed, String::new(), Run::default())
    );
    assert_eq!(*rig.fake.launches.lock().unwrap(), 1);
    daemon.end().await;
}

#[tokio::test]
async fn given_a_guest_that_ended_without_a_daemon_then_the_next_one_tells_it_and_starts_it_again() {
    let rig = Rig::new();
    let pid = left_running(&rig).await;
    killed(&rig, pid).await;

    let mut daemon = rig.daemon().await;
    assert_eq!(
        daemon.told().await,
        Observation::Exited(ExitReason::Vanished, String::new(), Run::default())
    );
    daemon.want(Power::Running, 6);
    assert_ne!(started_pid(daemon.told().await), pid);
    daemon.end().await;
}

#[tokio::test]
async fn given_a_directory_held_by_what_is_no_machine_then_nothing_is_told_or_started_until_that_is_gone() {
    let rig = Rig::new();
    let pid = left_running(&rig).await;
    killed(&rig, pid).await;
    let stranger = rig.stranger();

    let mut daemon = rig.daemon().await;
    let here = &daemon.here;
    let stock = crate::stock::retake(&here.data, &here.ledger, VM, here.clock.now())
        .await
        .unwrap();
    assert_eq!(stock.observed.guest, crate::plan::Guest::Unclear);
    daemon.want(Power::Running, 6);
    assert!(daemon.told_nothing_more());
    drop(stranger);
    assert_eq!(
        daemon.told().await,
        Observation::Exited(ExitReason::Vanished, String::new(), Run::default())
    );
    started_pid(daemon.told().await);
    assert_eq!(*rig.fake.launches.lock().unwrap(), 2);
    daemon.end().await;
}

#[tokio::test]
async fn given_no_wish_yet_then_a_daemon_starts_nothing() {
    let rig = Rig::new();
    let mut daemon = rig.daemon().await;
    let pid = started(&mut daemon).await;
    Process::of(pid).unwrap().unwrap().kill().unwrap();
    daemon.told().await;
    daemon.end().await;

    let mut daemon = rig.daemon().await;
    // Told or not before the first daemon ended: no more than that it ended.
    daemon.converge.wish(Wish::NotOurs(VM, Seq(9)));
    until("it is forgotten", async || daemon.converge.console(VM).is_none()).await;
    while !daemon.told_nothing_more() {}
    assert_eq!(*rig.fake.launches.lock().unwrap(), 1);
    daemon.end().await;
}
