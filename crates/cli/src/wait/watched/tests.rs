//! A VM on its way: each goal reached, waited for, or lost.

use chv_domain::{Epoch, HypervisorKind, NoMore, VmId};

use super::*;

const VM: VmId = VmId::from_bytes([7; 16]);
const EPOCH: Epoch = Epoch(Seq(2));

fn new(goal: Goal) -> Watched {
    Watched {
        goal,
        seen: Seq(2),
        power: Power::Running,
        host: "h1".to_owned(),
        running: None,
        ready: false,
        paused: false,
        changing: false,
        changed: Seq::ZERO,
        restart_needed: Vec::new(),
        trouble: None,
        exit: None,
        stays: None,
        binned: false,
        gone: false,
        by: None,
    }
}

fn after(goal: Goal, events: &[Event]) -> Watched {
    let mut watched = new(goal);
    for (seq, event) in (3..).map(Seq).zip(events) {
        watched.apply(seq, &"bob".parse().unwrap(), Some(Seq(seq.0 - 1)), event);
    }
    watched
}

fn started() -> Event {
    Event::VmStarted {
        vm: VM,
        epoch: EPOCH,
        hypervisor: HypervisorKind::QemuTcg,
        pid: 1,
        took_us: 1,
    }
}

fn exited() -> Event {
    Event::VmExited {
        vm: VM,
        epoch: EPOCH,
        reason: ExitReason::Vanished,
        console: String::new(),
        then: Aftermath::Again(1),
    }
}

fn blocked() -> Event {
    Event::VmBlocked {
        vm: VM,
        epoch: EPOCH,
        reason: "no kernel".to_owned(),
    }
}

#[test]
fn given_a_create_when_started_and_ready_then_each_goal_is_reached_in_its_turn() {
    let ready = Event::VmReady { vm: VM, epoch: EPOCH };
    assert_eq!(new(Goal::Running).verdict(), Verdict::Underway);
    assert_eq!(new(Goal::Running).underway(), "placed on h1, starting");
    assert_eq!(after(Goal::Running, &[started()]).verdict(), Verdict::Reached);
    assert_eq!(
        after(Goal::Running, &[started()]).outcome(),
        "running on h1 (qemu-tcg)"
    );
    assert_eq!(after(Goal::Ready, &[started()]).verdict(), Verdict::Underway);
    let there = after(Goal::Ready, &[started(), ready]);
    assert_eq!(there.verdict(), Verdict::Reached);
    assert_eq!(there.outcome(), "ready on h1 (qemu-tcg)");
}

#[test]
fn given_a_block_when_it_goes_then_waiting_went_on() {
    let watched = after(Goal::Running, &[blocked()]);
    assert_eq!(watched.verdict(), Verdict::Underway);
    assert_eq!(watched.underway(), "blocked on h1, which tries again: no kernel");
    let watched = after(Goal::Running, &[blocked(), started()]);
    assert_eq!((watched.verdict(), watched.trouble), (Verdict::Reached, None));
}

#[test]
fn given_a_crash_when_waiting_for_ready_then_it_waits_for_the_next_start() {
    let watched = after(Goal::Ready, &[started(), exited()]);
    assert_eq!(watched.verdict(), Verdict::Underway);
    assert!(
        watched.underway().contains("h1 starts it again"),
        "{}",
        watched.underway()
    );
}

#[test]
fn given_an_end_after_which_it_is_not_started_again_then_waiting_for_it_is_over() {
    let ended = Event::VmExited {
        vm: VM,
        epoch: EPOCH,
        reason: ExitReason::PoweredOffItself,
        console: String::new(),
        then: Aftermath::Stays(NoMore::NoFailure),
    };
    let verdict = after(Goal::Ready, &[started(), ended.clone()]).verdict();
    assert!(
        matches!(&verdict, Verdict::Lost(why) if why.contains("not started again: its restart policy")),
        "{verdict:?}"
    );
    let started = after(
        Goal::Running,
        &[started(), ended, Event::VmStartRequested { vm: VM }, started()],
    );
    assert_eq!(started.verdict(), Verdict::Reached);
}

#[test]
fn given_somebody_elses_order_when_waiting_then_it_is_lost_and_says_by_whom() {
    let stop = Event::VmStopRequested {
        vm: VM,
        how: StopHow::Hard,
    };
    for (events, word) in [
        (vec![stop.clone()], "meant to be stopped, as bob asked"),
        (
            vec![Event::VmDeleteRequested { vm: VM }],
            "being deleted, as bob asked",
        ),
        (vec![Event::VmDeleted { vm: VM }], "deleted meanwhile"),
    ] {
        let verdict = after(Goal::Running, &events).verdict();
        assert!(
            matches!(&verdict, Verdict::Lost(why) if why.contains(word)),
            "{verdict:?}"
        );
    }
    let restarted = after(Goal::Stopped, &[stop, Event::VmStartRequested { vm: VM }]);
    assert!(matches!(restarted.verdict(), Verdict::Lost(_)));
}

#[test]
fn given_a_stop_and_a_delete_when_done_then_reached() {
    let stop = Event::VmStopRequested {
        vm: VM,
        how: StopHow::Hard,
    };
    let stopping = after(Goal::Stopped, &[started(), stop.clone()]);
    assert_eq!(stopping.verdict(), Verdict::Underway);
    let stopped = after(Goal::Stopped, &[started(), stop, exited()]);
    assert_eq!(stopped.verdict(), Verdict::Reached);
    let delete = Event::VmDeleteRequested { vm: VM };
    assert_eq!(
        after(Goal::Deleted, std::slice::from_ref(&delete)).verdict(),
        Verdict::Underway
    );
    let deleted = after(Goal::Deleted, &[delete, Event::VmDeleted { vm: VM }]);
    assert_eq!(
        (deleted.verdict(), deleted.outcome()),
        (Verdict::Reached, "deleted".to_owned())
    );
}

#[test]
fn given_an_event_that_was_seen_when_it_comes_again_then_nothing_changes() {
    let mut watched = after(Goal::Running, &[started(), exited()]);
    let before = watched.clone();
    watched.apply(Seq(3), &"bob".parse().unwrap(), None, &started());
    assert_eq!(watched, before);
}

#[test]
fn given_a_reboot_then_a_boot_after_it_is_waited_for_and_a_start_from_before_it_is_not_taken_for_one() {
    let how = StopHow::Hard;
    let ordered = Event::VmRebootRequested { vm: VM, how };
    let rebooted = |order| Event::VmRebooted {
        vm: VM,
        epoch: EPOCH,
        order,
    };
    let waits = after(Goal::Running, &[started(), ordered.clone()]);
    assert_eq!(waits.verdict(), Verdict::Underway);
    assert_eq!(waits.underway(), "h1 resets it");
    let by_itself = after(Goal::Running, &[started(), ordered.clone(), rebooted(None)]);
    assert_eq!(by_itself.verdict(), Verdict::Underway);
    let done = after(
        Goal::Running,
        &[started(), ordered.clone(), rebooted(Some(Seq(4)))],
    );
    assert_eq!(done.verdict(), Verdict::Reached);
    let anew = after(Goal::Running, &[started(), ordered.clone(), exited(), started()]);
    assert_eq!(anew.verdict(), Verdict::Reached);
    let mut late = after(Goal::Running, &[started(), ordered]);
    late.apply(Seq(9), &"host/h1".parse().unwrap(), Some(Seq(2)), &started());
    assert_eq!(late.verdict(), Verdict::Underway);
}

#[test]
fn given_a_pause_then_it_is_reached_when_held_and_lost_when_it_ends() {
    let pause = Event::VmPauseRequested { vm: VM };
    let paused = Event::VmPaused { vm: VM, epoch: EPOCH };
    let resume = Event::VmResumeRequested { vm: VM };
    let waits = after(Goal::Paused, &[started(), pause.clone()]);
    assert_eq!(waits.verdict(), Verdict::Underway);
    let held = [started(), pause.clone(), paused.clone()];
    assert_eq!(after(Goal::Paused, &held).verdict(), Verdict::Reached);
    assert_eq!(after(Goal::Paused, &held).outcome(), "paused on h1 (qemu-tcg)");
    assert!(matches!(after(Goal::Running, &held).verdict(), Verdict::Lost(why) if why.contains("paused")));
    let resumed = [started(), pause.clone(), paused, resume];
    assert_eq!(after(Goal::Running, &resumed).verdict(), Verdict::Underway);
    let ended = after(Goal::Paused, &[started(), pause, exited()]);
    assert!(matches!(ended.verdict(), Verdict::Lost(why) if why.contains("has ended")));
}
