//! Converging a host with a hypervisor that can fail: real processes, real ends.

mod changes;
mod leases;
mod order;
mod restart;
pub(crate) mod rig;
mod verbs;

use std::sync::Arc;

use chv_domain::spec::StopTimeout;
use chv_domain::{Epoch, ExitReason, Observation, Power, Run, Seq, StopHow};

use super::Wish;
use crate::hypervisor::Process;
use crate::ledger::Noted;
use rig::{Daemon, Rig, Trouble, VM, desired, until};

fn graceful() -> Power {
    Power::Stopped(StopHow::Graceful(StopTimeout::try_from(1).unwrap()))
}

/// Starts the VM; gives its process's number.
async fn started(daemon: &mut Daemon) -> u32 {
    daemon.want(Power::Running, 6);
    started_pid(daemon.told().await)
}

fn started_pid(told: Observation) -> u32 {
    let Observation::Started { pid, .. } = told else {
        panic!("told {told:?} instead of a start")
    };
    pid
}

#[tokio::test]
async fn given_a_wish_to_run_then_it_is_started_once_and_told_with_what_it_follows() {
    let rig = Rig::new();
    let mut daemon = rig.daemon().await;
    daemon.want(Power::Running, 6);

    let (epoch, follows, told) = daemon.told_fully().await;
    assert_eq!((epoch, follows), (Epoch(Seq(5)), Some(Seq(6))));
    assert_eq!(started_pid(told), rig.process().await.unwrap().pid);
    daemon.want(Power::Running, 6);
    daemon
        .converge
        .wish(Wish::All(vec![Arc::new(desired(Power::Running, 5, 6))], Seq(6)));
    daemon.want(Power::Stopped(StopHow::Hard), 7);
    assert_eq!(
        daemon.told().await,
        Observation::Exited(ExitReason::Killed, String::new(), Run::default())
    );
    assert_eq!(*rig.fake.launches.lock().unwrap(), 1);
    assert_eq!(rig.process().await, None);
    daemon.end().await;
}

#[tokio::test]
async fn given_launches_that_fail_then_that_is_told_once_and_the_vm_is_started_when_it_can_be() {
    let rig = Rig::new();
    let mut daemon = rig.daemon().await;
    rig.fake.troubles.lock().unwrap().extend([Trouble::Fails; 4]);
    daemon.want(Power::Running, 6);

    let Observation::Blocked(reason) = daemon.told().await else {
        panic!("not blocked")
    };
    assert!(reason.contains("no luck"), "{reason}");
    started_pid(daemon.told().await);
    assert_eq!(*rig.fake.launches.lock().unwrap(), 5);
    daemon.end().await;
}

#[tokio::test]
async fn given_a_kernel_that_is_not_there_then_the_vm_says_where_it_should_be_and_starts_when_it_is() {
    let rig = Rig::new();
    let mut daemon = rig.daemon().await;
    std::fs::rename(rig.path("images/vmlinuz"), rig.path("elsewhere")).unwrap();
    daemon.want(Power::Running, 6);
    let Observation::Blocked(reason) = daemon.told().await else {
        panic!("not blocked")
    };
    assert!(
        reason.contains(rig.path("images/vmlinuz").to_str().unwrap()),
        "{reason}"
    );

    std::fs::rename(rig.path("elsewhere"), rig.path("images/vmlinuz")).unwrap();
    started_pid(daemon.told().await);
    daemon.end().await;
}

#[tokio::test]
async fn given_a_blocked_vm_when_it_should_not_run_any_more_then_it_is_unblocked() {
    let rig = Rig::new();
    let mut daemon = rig.daemon().await;
    std::fs::remove_file(rig.path("images/vmlinuz")).unwrap();
    daemon.want(Power::Running, 6);
    assert!(matches!(daemon.told().await, Observation::Blocked(_)));
    daemon.want(Power::Stopped(StopHow::Hard), 7);
    assert_eq!(daemon.told().await, Observation::Unblocked);
    daemon.end().await;
}

#[tokio::test]
async fn given_a_guest_that_is_held_then_that_is_told_and_it_goes_on_when_it_can_and_is_never_killed() {
    let rig = Rig::new();
    let mut daemon = rig.daemon().await;
    *rig.fake.held.lock().unwrap() = Some("no room".to_owned());
    let pid = started(&mut daemon).await;
    let held = || Observation::Blocked("no room".to_owned());
    assert_eq!(daemon.told().await, held());
    // To a new order it is told again: that has cleared it.
    daemon.want(Power::Running, 8);
    assert_eq!(daemon.told().await, held());
    until("it is tried to let it go on", async || {
        *rig.fake.resumed.lock().unwrap() > 1
    })
    .await;

    *rig.fake.held.lock().unwrap() = None;
    assert_eq!(daemon.told().await, Observation::Unblocked);
    assert_eq!(rig.process().await.unwrap().pid, pid);
    assert_eq!(*rig.fake.launches.lock().unwrap(), 1);
    daemon.end().await;
}

#[tokio::test]
async fn given_a_hypervisor_that_does_not_answer_then_that_is_told_as_that_until_it_does_and_its_guest_runs_on()
 {
    let rig = Rig::new();
    let mut daemon = rig.daemon().await;
    let pid = started(&mut daemon).await;
    *rig.fake.mute.lock().unwrap() = true;
    let Observation::Blocked(why) = daemon.told().await else {
        panic!("not told")
    };
    assert!(why.contains("does not answer: nothing for five seconds"), "{why}");
    *rig.fake.mute.lock().unwrap() = false;
    assert_eq!(daemon.told().await, Observation::Unblocked);
    assert_eq!(rig.process().await.unwrap().pid, pid);
    assert_eq!(*rig.fake.launches.lock().unwrap(), 1);
    daemon.end().await;
}

#[tokio::test]
async fn given_a_process_killed_behind_the_daemons_back_then_that_is_told_and_it_is_started_again() {
    let rig = Rig::new();
    let mut daemon = rig.daemon().await;
    let first = started(&mut daemon).await;
    Process::of(first).unwrap().unwrap().kill().unwrap();

    assert_eq!(
        daemon.told().await,
        Observation::Exited(ExitReason::Vanished, String::new(), Run::default())
    );
    assert_ne!(started_pid(daemon.told().await), first);
    daemon.end().await;
}

#[tokio::test]
async fn given_a_guest_that_obeys_when_stopped_then_it_powered_off() {
    let rig = Rig::new();
    let mut daemon = rig.daemon().await;
    started(&mut daemon).await;
    daemon.want(graceful(), 7);
    assert_eq!(
        daemon.told().await,
        Observation::Exited(ExitReason::PoweredOff, String::new(), Run::default())
    );
    assert_eq!(rig.process().await, None);
    // What was answered is struck out: the next daemon has nothing to tell.
    until("the end is told", async || {
        daemon
            .here
            .ledger
            .notes()
            .unwrap()
            .iter()
            .all(|(_, note)| note.noted == Noted::Nothing)
    })
    .await;
    daemon.end().await;
    let mut daemon = rig.daemon().await;
    daemon.want(graceful(), 7);
    daemon.want(Power::Running, 8);
    started_pid(daemon.told().await);
    daemon.end().await;
}

#[tokio::test]
async fn given_a_guest_that_is_deaf_when_stopped_then_it_is_killed_after_the_timeout() {
    let rig = Rig::new();
    let mut daemon = rig.daemon().await;
    *rig.fake.deaf.lock().unwrap() = true;
    started(&mut daemon).await;
    let begun = std::time::Instant::now();
    daemon.want(graceful(), 7);
    assert_eq!(
        daemon.told().await,
        Observation::Exited(ExitReason::StopTimedOut, String::new(), Run::default())
    );
    assert!(begun.elapsed() >= std::time::Duration::from_secs(1));
    daemon.end().await;
}

#[tokio::test]
async fn given_a_kill_that_fails_and_a_wish_to_run_after_it_then_a_later_end_is_not_the_kills() {
    let rig = Rig::new();
    let mut daemon = rig.daemon().await;
    let pid = started(&mut daemon).await;
    *rig.fake.unkillable.lock().unwrap() = u32::MAX;
    daemon.want(Power::Stopped(StopHow::Hard), 7);
    // The second failure in a row is told: the first was all dealt with by then.
    assert!(matches!(daemon.told().await, Observation::Blocked(_)));
    daemon.want(Power::Running, 8);
    Process::of(pid).unwrap().unwrap().kill().unwrap();
    assert_eq!(
        daemon.told().await,
        Observation::Exited(ExitReason::Vanished, String::new(), Run::default())
    );
    started_pid(daemon.told().await);
    *rig.fake.unkillable.lock().unwrap() = 0;
    daemon.end().await;
}

#[tokio::test]
async fn given_a_guest_that_powers_itself_off_while_it_should_run_then_it_stays_so_until_it_is_started() {
    let rig = Rig::new();
    let mut daemon = rig.daemon().await;
    started(&mut daemon).await;
    let instance = crate::hypervisor::Instance::find(daemon.here.data.run_dir(VM))
        .await
        .unwrap()
        .unwrap();
    crate::hypervisor::Hypervisor::press_power_button(&*rig.fake, &instance)
        .await
        .unwrap();
    assert_eq!(
        daemon.told().await,
        Observation::Exited(ExitReason::PoweredOffItself, String::new(), Run::default())
    );
    // The leader has not said so yet, and another daemon begins.
    daemon.end().await;
    let mut daemon = rig.daemon().await;
    daemon.want(Power::Running, 6);
    let (_, _, again) = daemon.told_exactly().await;
    assert!(
        matches!(
            again,
            Observation::Exited(ExitReason::PoweredOffItself, _, Run { order: Seq(6), .. })
        ),
        "{again:?}"
    );
    daemon.want(Power::Stopped(StopHow::Hard), 6);
    daemon.want(Power::Running, 9);
    started_pid(daemon.told().await);
    assert_eq!(*rig.fake.launches.lock().unwrap(), 2);
    daemon.end().await;
}

#[tokio::test]
async fn given_a_limit_of_restarts_then_a_guest_that_keeps_ending_is_started_again_so_often_also_by_another_daemon()
 {
    let rig = Rig::new();
    let mut daemon = rig.daemon().await;
    let limited = |revision| {
        let mut vm = desired(Power::Running, 5, revision);
        let mut spec = vm.spec.as_ref().clone();
        spec.restart = serde_json::from_str(r#"{"policy":"always","limit":2}"#).unwrap();
        vm.spec = Arc::new(spec);
        Wish::Vm(Arc::new(vm))
    };
    daemon.converge.wish(limited(6));
    for restarts in 0..3 {
        let pid = started_pid(daemon.told().await);
        Process::of(pid).unwrap().unwrap().kill().unwrap();
        let (_, _, told) = daemon.told_exactly().await;
        let Observation::Exited(ExitReason::Vanished, _, run) = told else {
            panic!("{told:?}")
        };
        assert_eq!((run.order, run.restarts), (Seq(6), restarts));
        if restarts == 1 {
            // The next daemon knows how often it was, and tells the end that may not have been heard.
            daemon.end().await;
            daemon = rig.daemon().await;
            daemon.converge.wish(limited(6));
            assert!(matches!(daemon.told().await, Observation::Exited(..)));
        }
    }
    assert_eq!(*rig.fake.launches.lock().unwrap(), 3);
    daemon.converge.wish(limited(9));
    started_pid(daemon.told().await);
    daemon.end().await;
}

#[tokio::test]
async fn given_a_vm_to_delete_then_nothing_of_it_is_left_and_that_is_told_once() {
    let rig = Rig::new();
    let mut daemon = rig.daemon().await;
    started(&mut daemon).await;
    daemon.want(Power::Deleted, 7);
    assert_eq!(
        daemon.told().await,
        Observation::Exited(ExitReason::Killed, String::new(), Run::default())
    );
    assert_eq!(daemon.told().await, Observation::Removed);
    assert!(!rig.has_dir());
    assert_eq!(daemon.here.ledger.notes().unwrap(), []);

    daemon.converge.wish(Wish::NotOurs(VM, Seq(9)));
    until("it is forgotten", async || daemon.converge.console(VM).is_none()).await;
    assert!(daemon.told_nothing_more());
    daemon.end().await;
}

#[tokio::test]
async fn given_a_vm_that_is_not_in_the_slice_then_it_is_ended_and_removed() {
    let rig = Rig::new();
    let mut daemon = rig.daemon().await;
    started(&mut daemon).await;
    daemon.converge.wish(Wish::All(vec![], Seq(9)));
    until("it is forgotten", async || daemon.converge.console(VM).is_none()).await;
    assert!(!rig.has_dir());
    assert_eq!(rig.process().await, None);
    daemon.end().await;
}

#[tokio::test]
async fn given_a_slice_from_before_the_grant_then_nothing_of_the_vm_is_ended() {
    let rig = Rig::new();
    let mut daemon = rig.daemon().await;
    let pid = started(&mut daemon).await;
    daemon.converge.wish(Wish::All(vec![], Seq(4)));
    daemon.converge.wish(Wish::NotOurs(VM, Seq(4)));
    daemon.end().await;

    // Nor by a daemon that has no wish for it yet, and knows the grant from its notes alone.
    let mut daemon = rig.daemon().await;
    assert_eq!(daemon.converge.highest_grant(), Seq(5));
    assert!(matches!(daemon.told().await, Observation::Adopted { .. }));
    daemon.converge.wish(Wish::All(vec![], Seq(4)));
    daemon.want(graceful(), 7);
    assert_eq!(
        daemon.told().await,
        Observation::Exited(ExitReason::PoweredOff, String::new(), Run::default())
    );
    assert_eq!(Process::of(pid).unwrap(), None);
    assert!(rig.has_dir());
    daemon.end().await;
}

#[tokio::test]
async fn given_a_stale_grant_then_nothing_is_done() {
    let rig = Rig::new();
    let mut daemon = rig.daemon().await;
    started(&mut daemon).await;
    daemon
        .converge
        .wish(Wish::Vm(Arc::new(desired(Power::Deleted, 4, 9))));
    daemon.want(graceful(), 10);
    assert_eq!(
        daemon.told().await,
        Observation::Exited(ExitReason::PoweredOff, String::new(), Run::default())
    );
    assert!(rig.has_dir());
    daemon.end().await;
}

#[tokio::test]
async fn given_a_launch_that_hangs_when_it_should_not_run_any_more_then_the_launch_is_given_up() {
    let rig = Rig::new();
    let mut daemon = rig.daemon().await;
    rig.fake.troubles.lock().unwrap().push_back(Trouble::Hangs);
    daemon.want(Power::Running, 6);
    until("the launch has begun", async || {
        *rig.fake.launches.lock().unwrap() == 1
    })
    .await;
    daemon.want(Power::Deleted, 7);
    assert_eq!(daemon.told().await, Observation::Removed);
    daemon.end().await;
}
