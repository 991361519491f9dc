//! Pause, resume, reboot and reset, of processes that are there, by daemons that come and go.

use chv_domain::{Observation, Power, Reboot, Run, Seq, StopHow};

use super::rig::{Rig, until};
use super::{started, started_pid};

fn reset(order: u64) -> Power {
    let how = StopHow::Hard;
    let order = Seq(order);
    Power::Rebooting(Reboot { order, how })
}

fn rebooted(order: u64) -> Observation {
    let order = Some(Seq(order));
    Observation::Rebooted { order }
}

#[tokio::test]
async fn given_a_guest_when_it_should_be_held_and_run_on_then_it_is_and_each_is_told() {
    let rig = Rig::new();
    let mut daemon = rig.daemon().await;
    let pid = started(&mut daemon).await;
    daemon.want(Power::Paused, 7);
    assert_eq!(daemon.told().await, Observation::Paused);
    assert!(*rig.fake.paused.lock().unwrap());
    daemon.want(Power::Running, 8);
    assert_eq!(daemon.told().await, Observation::Resumed);
    assert!(!*rig.fake.paused.lock().unwrap());
    assert_eq!(rig.process().await.unwrap().pid, pid);
    daemon.end().await;
}

#[tokio::test]
async fn given_a_guest_that_was_held_behind_the_daemons_back_then_it_is_told_and_let_run_on() {
    let rig = Rig::new();
    let mut daemon = rig.daemon().await;
    started(&mut daemon).await;
    *rig.fake.paused.lock().unwrap() = true;
    assert_eq!(daemon.told().await, Observation::Paused);
    assert_eq!(daemon.told().await, Observation::Resumed);
    assert!(!*rig.fake.paused.lock().unwrap());
    daemon.end().await;
}

#[tokio::test]
async fn given_a_held_guest_when_the_daemon_is_restarted_then_it_is_adopted_as_held_and_stays_so() {
    let rig = Rig::new();
    let mut daemon = rig.daemon().await;
    let pid = started(&mut daemon).await;
    daemon.want(Power::Paused, 7);
    assert_eq!(daemon.told().await, Observation::Paused);
    daemon.end().await;

    let mut daemon = rig.daemon().await;
    let told = daemon.told().await;
    assert!(
        matches!(told, Observation::Adopted { paused: true, pid: adopted, .. } if adopted == pid),
        "{told:?}"
    );
    daemon.want(Power::Paused, 7);
    daemon.want(Power::Running, 8);
    assert_eq!(daemon.told().await, Observation::Resumed);
    daemon.end().await;
}

#[tokio::test]
async fn given_a_reset_then_it_is_done_once_in_the_same_process_whatever_is_heard_again() {
    let rig = Rig::new();
    let mut daemon = rig.daemon().await;
    let pid = started(&mut daemon).await;
    daemon.want(reset(7), 7);
    assert_eq!(daemon.told().await, rebooted(7));
    // When the wish is heard again after something else changed, by this daemon and by the next.
    daemon.want(reset(7), 8);
    daemon.want(Power::Running, 8);
    daemon.end().await;
    let mut daemon = rig.daemon().await;
    assert!(matches!(daemon.told().await, Observation::Adopted { .. }));
    daemon.want(reset(7), 9);
    // Then it is told again, to a log that may not know, and not done again.
    assert_eq!(daemon.told().await, rebooted(7));
    assert_eq!(*rig.fake.resets.lock().unwrap(), 1);
    assert_eq!(rig.process().await.unwrap().pid, pid);
    daemon.want(reset(10), 10);
    assert_eq!(daemon.told().await, rebooted(10));
    assert_eq!(*rig.fake.resets.lock().unwrap(), 2);
    daemon.end().await;
}

#[tokio::test]
async fn given_a_daemon_that_ends_in_the_middle_of_a_reset_then_the_next_one_carries_it_out() {
    let rig = Rig::new();
    let mut daemon = rig.daemon().await;
    started(&mut daemon).await;
    *rig.fake.reset_hangs.lock().unwrap() = true;
    daemon.want(reset(7), 7);
    until("the reset was begun", async || {
        *rig.fake.resets.lock().unwrap() == 1
    })
    .await;
    daemon.end().await;

    *rig.fake.reset_hangs.lock().unwrap() = false;
    let mut daemon = rig.daemon().await;
    assert!(matches!(daemon.told().await, Observation::Adopted { .. }));
    daemon.want(reset(7), 7);
    // Its guest has no agent, so nobody can say whether it was done: it is done.
    assert_eq!(daemon.told().await, rebooted(7));
    assert_eq!(*rig.fake.resets.lock().unwrap(), 2);
    daemon.end().await;
}

#[tokio::test]
async fn given_a_reboot_then_the_guest_powers_off_and_is_started_at_once_and_only_once() {
    let rig = Rig::new();
    let mut daemon = rig.daemon().await;
    let pid = started(&mut daemon).await;
    let how = match super::graceful() {
        Power::Stopped(how) => how,
        other => panic!("{other:?}"),
    };
    let reboot = Power::Rebooting(Reboot { order: Seq(7), how });
    daemon.want(reboot, 7);
    assert_eq!(
        daemon.told().await,
        Observation::Exited(chv_domain::ExitReason::PoweredOff, String::new(), Run::default())
    );
    let (_, follows, told) = daemon.told_fully().await;
    assert_eq!(follows, Some(Seq(7)));
    assert_ne!(started_pid(told), pid);
    daemon.want(reboot, 8);
    daemon.end().await;
    assert_eq!(*rig.fake.launches.lock().unwrap(), 2);
}

#[tokio::test]
async fn given_a_guest_that_does_not_hear_when_it_should_reboot_then_it_is_reset_after_the_timeout() {
    let rig = Rig::new();
    *rig.fake.deaf.lock().unwrap() = true;
    let mut daemon = rig.daemon().await;
    let pid = started(&mut daemon).await;
    let Power::Stopped(how) = super::graceful() else {
        panic!("a stop")
    };
    let order = Seq(7);
    daemon.want(Power::Rebooting(Reboot { order, how }), 7);
    assert_eq!(daemon.told().await, rebooted(7));
    assert_eq!(rig.process().await.unwrap().pid, pid);
    daemon.end().await;
}
