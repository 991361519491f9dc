//! The rule against a simulated host: whatever is found there and whatever fails, it gets to what is wanted,
//! and never by a way that must not be.

use chv_domain::spec::StopTimeout;
use chv_domain::{TraceContext, VmId, VmSpec};
use proptest::prelude::*;

use super::*;

/// More steps than any way to any goal needs, waits and five failures included.
const BOUND: usize = 60;

/// A host with one VM's place on it, and the log's idea of it.
#[derive(Debug)]
struct Host {
    processes: u32,
    files: bool,
    observed: Observed,
    now: Timestamp,
    /// Steps that fail, before all of them succeed.
    failures: u32,
    told: Vec<Step>,
    /// How often its guest was booted.
    boots: u32,
}

impl Host {
    /// Does the step; says whether there is nothing left to do.
    fn execute(&mut self, wanted: &Wanted, step: &Step) -> bool {
        let effect = matches!(
            step,
            Step::Launch
                | Step::Kill(_)
                | Step::Remove
                | Step::Pause
                | Step::Resume
                | Step::Reset(_)
                | Step::Change(..)
        );
        if effect && self.failures > 0 {
            self.failures -= 1;
            self.observed.pace.failed(self.now, 0.5);
            if *step == Step::Launch {
                self.observed.blocked = Some("no such file".to_owned());
            }
            return false;
        }
        match step {
            Step::Find => match self.processes {
                0 => self.observed.guest = Guest::Absent,
                _ => self.observed.found(None, None, Boots::default(), None),
            },
            Step::Adopt => self.observed.adopted(self.now),
            Step::TellAdopted(epoch) => self.observed.told_adopted(*epoch),
            Step::TellExited(..) => self.observed.told_exited(),
            Step::TellBlocked(_, why) => self.observed.blocked = Some(why.clone()),
            Step::TellUnblocked(_) => self.observed.blocked = None,
            Step::TellRemoved(_) => self.observed.removed_told = true,
            Step::Launch => {
                self.processes += 1;
                self.files = true;
                let Wanted::Vm(vm) = wanted else {
                    panic!("launched what nobody wants")
                };
                self.observed.launched(vm, runs(vm), self.now);
                self.boots += 1;
            }
            Step::PressPowerButton(order) => {
                self.observed.pressed(*order, self.now);
            }
            Step::TellPaused(_, paused) => self.observed.told_paused(*paused),
            Step::TellRebooted(_, order) => self.observed.told_rebooted(*order),
            Step::Change(_, is) => self.observed.changed(Arc::clone(is)),
            Step::TellApplied(..) => {
                let Wanted::Vm(vm) = wanted else {
                    panic!("told of what nobody wants")
                };
                self.observed.told_applied(vm.changed);
            }
            Step::Pause => self.observed.is(Health::Paused),
            Step::Resume => self.observed.is(Health::Sound),
            Step::Reset(order) => {
                self.observed.resetting(*order);
                self.observed.booted(*order);
                self.boots += 1;
            }
            Step::Booted(order) => self.observed.booted(*order),
            Step::Kill(reason) => {
                self.processes -= 1;
                self.observed
                    .ended(reason.clone(), self.now, Duration::ZERO, u8::MAX);
            }
            Step::Remove => {
                self.files = false;
                self.observed.removed();
            }
            Step::Wait(Some(until)) => {
                assert!(*until > self.now, "waits for the past");
                self.now = *until;
            }
            Step::Wait(None) | Step::Forget => return true,
        }
        if !matches!(step, Step::Wait(_)) {
            self.told.push(step.clone());
        }
        false
    }

    /// Converges; gives every step that was planned.
    fn converge(&mut self, wanted: &Wanted) -> Vec<Step> {
        let mut steps = Vec::new();
        for _ in 0..BOUND {
            let step = next(wanted, &self.observed, self.now);
            let done = self.execute(wanted, &step);
            steps.push(step);
            assert!(self.processes <= 1, "two processes: {steps:?}");
            if done {
                return steps;
            }
        }
        panic!("no end after {BOUND} steps: {steps:?}");
    }
}

fn desired(epoch: u64, power: Power) -> Wanted {
    // Each grant came with another spec: one part of it can be changed while it runs, the other can't.
    let spec = format!(
        r#"{{"cpu":{{"vcpus":{},"max":9}},"memory":"{epoch}MiB","boot":{{"kernel":"vmlinuz"}}}}"#,
        epoch % 3 + 1
    );
    let spec: VmSpec = serde_json::from_str(&spec).unwrap();
    Wanted::Vm(Arc::new(DesiredVm {
        vm: VmId::from_bytes([1; 16]),
        project: "default".parse().unwrap(),
        name: "web".parse().unwrap(),
        spec: spec.into(),
        power,
        epoch: Epoch(Seq(epoch)),
        revision: Seq(epoch),
        changed: Seq(epoch),
        trace: None::<TraceContext>,
    }))
}

fn runs(vm: &DesiredVm) -> Runs {
    Runs::started(chv_domain::HypervisorKind::QemuTcg, false, Arc::clone(&vm.spec))
}

fn timeout() -> StopTimeout {
    StopTimeout::try_from(7).unwrap()
}

fn powers() -> impl Strategy<Value = Power> {
    prop_oneof![
        Just(Power::Running),
        Just(Power::Stopped(StopHow::Graceful(timeout()))),
        Just(Power::Stopped(StopHow::Hard)),
        Just(Power::Deleted),
        Just(Power::Paused),
        (4u64..9, any::<bool>()).prop_map(|(order, hard)| {
            let how = if hard {
                StopHow::Hard
            } else {
                StopHow::Graceful(timeout())
            };
            Power::Rebooting(Reboot {
                order: Seq(order),
                how,
            })
        }),
    ]
}

fn wishes() -> impl Strategy<Value = Wanted> {
    prop_oneof![
        8 => (4u64..7, powers()).prop_map(|(epoch, power)| desired(epoch, power)),
        2 => (3u64..8).prop_map(|at| Wanted::NotOurs(Seq(at))),
        1 => Just(Wanted::Unheard),
    ]
}

fn epochs() -> impl Strategy<Value = Option<Epoch>> {
    prop_oneof![Just(None), (4u64..7).prop_map(|seq| Some(Epoch(Seq(seq))))]
}

fn says() -> impl Strategy<Value = Option<BootId>> {
    proptest::option::of(prop::sample::select(vec!["one", "two"]).prop_map(|id| BootId::new(id).unwrap()))
}

fn boots() -> impl Strategy<Value = Boots> {
    let begun = (4u64..9, says()).prop_map(|(order, ends)| Begun {
        order: Seq(order),
        ends,
    });
    (3u64..9, proptest::option::of(begun)).prop_map(|(after, begun)| Boots {
        after: Seq(after),
        begun,
    })
}

prop_compose! {
    fn hosts()(
        guest in 0..5, hidden: bool, epoch in epochs(), told: bool, stopping: bool, revision in 4u64..8, health in 0..4, boots in boots(), says in says(), told_paused: bool, files: bool,
        blocked: bool, failures in 0u32..6, now in 10_000_000_000_u64..20_000_000_000,
    ) -> Host {
        let now = Timestamp(now);
        let stop = stopping.then(|| Stop { revision: Seq(revision), since: now.minus(Duration::from_secs(3)), pressed: now });
        let guest = match guest {
            0 => Guest::Absent,
            1 => Guest::Found { epoch, stop, boots, runs: None },
            2 => Guest::Running { epoch, told, stop, ran: Ran { says, told_paused, ..Ran::new(boots, None, now) }, health: match health {
                0 => Health::Sound,
                3 => Health::Paused,
                1 => Health::Stalled("no room".to_owned()),
                _ => Health::Broken("panicked".to_owned()),
            } },
            3 => Guest::Unclear,
            _ => Guest::Ended { epoch, reason: ExitReason::Vanished, run: Run::default() },
        };
        let process = match &guest {
            Guest::Found { .. } | Guest::Running { .. } => true,
            Guest::Unclear => hidden,
            Guest::Absent | Guest::Ended { .. } => false,
        };
        let highest = epoch;
        let observed = Observed {
            epoch: highest,
            guest,
            leftovers: files || process,
            blocked: blocked.then(|| "no such file".to_owned()),
            removed_told: false,
            leased: false,
            ..Observed::nothing()
        };
        Host { processes: u32::from(process), files: files || process, observed, now, failures, told: vec![], boots: 0 }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn given_any_host_and_any_wishes_in_turn_then_each_is_reached_in_bounded_steps(
        mut host in hosts(), wanted in proptest::collection::vec(wishes(), 1..5),
    ) {
        for wanted in wanted {
            let stale = match &wanted {
                Wanted::Vm(vm) => host.observed.epoch > Some(vm.epoch),
                Wanted::NotOurs(at) => host.observed.epoch > Some(Epoch(*at)),
                Wanted::Unheard => false,
            };
            let (processes, files) = (host.processes, host.files);
            host.observed.asked(&wanted);
            let steps = host.converge(&wanted);
            match &wanted {
                _ if stale => prop_assert_eq!((host.processes, host.files), (processes, files)),
                Wanted::Unheard => prop_assert_eq!((host.processes, host.files), (processes, files)),
                Wanted::NotOurs(_) => prop_assert_eq!((host.processes, host.files), (0, false)),
                Wanted::Vm(vm) => match vm.power {
                    Power::Running => {
                        prop_assert_eq!(host.processes, 1);
                        if let Guest::Running { health: Health::Sound, ran, .. } = &host.observed.guest
                            && let Some(runs) = &ran.runs
                        {
                            prop_assert_eq!(runs.is.cpu.vcpus, vm.spec.cpu.vcpus);
                            prop_assert!(host.observed.told_changed >= vm.changed);
                        }
                    }
                    Power::Paused => match &host.observed.guest {
                        Guest::Running { health, .. } => prop_assert!(*health != Health::Sound),
                        _ => prop_assert_eq!(host.processes, 0),
                    },
                    Power::Rebooting(reboot) => {
                        prop_assert_eq!(host.processes, 1);
                        let Guest::Running { ran, health, .. } = &host.observed.guest else { panic!("it runs") };
                        let held = matches!(health, Health::Stalled(_));
                        prop_assert!(held || ran.boots.after >= reboot.order);
                        prop_assert!(held || ran.told_boot >= reboot.order);
                    }
                    Power::Stopped(_) => {
                        prop_assert_eq!(host.processes, 0);
                        prop_assert_eq!(&host.observed.blocked, &None);
                    }
                    Power::Deleted => {
                        prop_assert_eq!((host.processes, host.files), (0, false));
                        prop_assert!(steps.len() == 1 || host.observed.removed_told);
                    }
                },
            }
        }
    }

    #[test]
    fn given_a_guest_that_should_run_then_it_is_never_killed(mut host in hosts(), epoch in 4u64..7) {
        let wanted = desired(epoch, Power::Running);
        let sound = !matches!(host.observed.guest, Guest::Running { health: Health::Broken(_), .. });
        let of_the_past = host.observed.epoch < Some(Epoch(Seq(epoch))) && host.observed.epoch.is_some();
        prop_assume!(sound && !of_the_past);
        host.observed.asked(&wanted);
        let steps = host.converge(&wanted);
        prop_assert!(!steps.iter().any(|step| matches!(step, Step::Kill(_))), "{:?}", steps);
        let stalled = match &host.observed.guest {
            Guest::Running { health: Health::Stalled(why), .. } => Some(why),
            _ => None,
        };
        let stale = host.observed.epoch > Some(Epoch(Seq(epoch)));
        prop_assert!(stale || host.observed.blocked.as_ref() == stalled, "what the log was told");
    }

    #[test]
    fn given_a_graceful_stop_then_it_is_killed_only_after_its_timeout(mut host in hosts()) {
        let wanted = desired(7, Power::Stopped(StopHow::Graceful(timeout())));
        host.observed.epoch = Some(Epoch(Seq(7)));
        if let Guest::Running { epoch, .. } | Guest::Found { epoch, .. } = &mut host.observed.guest {
            *epoch = Some(Epoch(Seq(7)));
        }
        let mut since = None;
        for _ in 0..BOUND {
            let step = next(&wanted, &host.observed, host.now);
            if let Guest::Running { stop: Some(stop), .. } = host.observed.guest && stop.revision == Seq(7) {
                since = since.or(Some(stop.since));
            }
            if let Step::Kill(reason) = &step {
                prop_assert_eq!(reason, &ExitReason::StopTimedOut);
                let since = since.expect("killed without a press of the button");
                prop_assert!(host.now.since(since) >= timeout().duration());
            }
            if host.execute(&wanted, &step) {
                break;
            }
        }
    }

    #[test]
    fn given_an_order_to_boot_anew_then_it_is_carried_out_once(
        mut host in hosts(), boots in boots(), says in says(), found: bool, order in 4u64..9, hard: bool,
    ) {
        let how = if hard { StopHow::Hard } else { StopHow::Graceful(timeout()) };
        let order = Seq(order);
        let wanted = desired(7, Power::Rebooting(Reboot { order, how }));
        // Given a process, found or looked after, with a reset begun or not, of which the guest may say more.
        let epoch = Some(Epoch(Seq(7)));
        host.processes = 1;
        host.files = true;
        host.observed.epoch = epoch;
        host.observed.leftovers = true;
        host.observed.guest = if found {
            Guest::Found { epoch, stop: None, boots: boots.clone(), runs: None }
        } else {
            let ran = Ran { says: says.clone(), ..Ran::new(boots.clone(), None, host.now) };
            Guest::Running { epoch, told: true, stop: None, health: Health::Sound, ran }
        };
        let says = says.filter(|_| !found);
        let begun = boots.begun.filter(|begun| begun.order == order);
        let seen = matches!(&begun, Some(Begun { ends: Some(ended), .. }) if says.is_some_and(|says| says != *ended));
        let expected = u32::from(boots.after < order && !seen);
        // When it is heard of, and once more, then it is carried out, unless it was.
        for _ in 0..2 {
            host.observed.asked(&wanted);
            host.converge(&wanted);
            prop_assert_eq!(host.boots, expected);
        }
    }

    #[test]
    fn given_a_wish_that_is_reached_then_nothing_more_is_done_or_told(mut host in hosts(), wanted in wishes()) {
        host.observed.asked(&wanted);
        host.converge(&wanted);
        let again = host.converge(&wanted);
        prop_assert_eq!(again.len(), 1, "{:?}", again);
    }
}

#[test]
fn given_a_guest_that_ended_then_its_end_is_told_before_it_is_started_again() {
    let mut host = Host {
        processes: 0,
        files: true,
        observed: Observed {
            leftovers: true,
            epoch: Some(Epoch(Seq(5))),
            order: Seq(5),
            told_changed: Seq(5),
            ..Observed::nothing()
        },
        now: Timestamp(1_000_000_000),
        failures: 0,
        told: vec![],
        boots: 0,
    };
    host.observed.guest = Guest::Running {
        epoch: Some(Epoch(Seq(5))),
        told: true,
        stop: None,
        health: Health::Sound,
        ran: Ran::new(Boots::default(), None, Timestamp(0)),
    };
    host.observed
        .ended(ExitReason::Vanished, host.now, Duration::from_secs(5), u8::MAX);

    let steps = host.converge(&desired(5, Power::Running));

    assert_eq!(
        steps,
        [
            Step::TellExited(
                Epoch(Seq(5)),
                ExitReason::Vanished,
                Run {
                    order: Seq(5),
                    ran_ms: 5000,
                    restarts: 0
                }
            ),
            Step::Wait(Some(Timestamp(1_001_000_000))),
            Step::Launch,
            Step::Wait(None)
        ]
    );
}

#[test]
fn given_an_end_that_its_policy_leaves_so_then_it_is_told_and_nothing_is_started_until_something_else_is_ordered()
 {
    let now = Timestamp(1_000_000_000);
    let mut observed = Observed::nothing();
    let wanted = desired(5, Power::Running);
    observed.asked(&wanted);
    let Wanted::Vm(vm) = &wanted else {
        unreachable!("that is what is desired")
    };
    observed.launched(vm, runs(vm), now);
    observed.ended(ExitReason::PoweredOffItself, now, Duration::from_secs(90), 0);
    assert!(matches!(next(&wanted, &observed, now), Step::TellExited(..)));
    observed.told_exited();
    assert_eq!(next(&wanted, &observed, now), Step::Wait(None));

    let again = desired(7, Power::Running);
    observed.asked(&again);
    // It came with a change: that nothing runs here that is not so yet is told before.
    let Step::TellApplied(_, restart_needed) = next(&again, &observed, now) else {
        panic!("not told")
    };
    assert_eq!(restart_needed, []);
    observed.told_applied(again.changed());
    assert_eq!(next(&again, &observed, now), Step::Launch);
}

#[test]
fn given_a_vm_of_which_it_cant_be_told_whether_it_runs_then_nothing_is_done_but_to_look_again() {
    let mut observed = Observed::nothing();
    observed.guest = Guest::Unclear;
    let now = Timestamp(1_000_000_000);
    let wishes =
        [Power::Running, Power::Stopped(StopHow::Hard), Power::Deleted].map(|power| desired(5, power));
    for wanted in wishes
        .into_iter()
        .chain([Wanted::Unheard, Wanted::NotOurs(Seq(9))])
    {
        observed.asked(&wanted);
        assert_eq!(next(&wanted, &observed, now), Step::Find);
        observed.pace.blocked(now, 0.5);
        assert!(matches!(next(&wanted, &observed, now), Step::Wait(Some(at)) if at > now));
    }
}

#[test]
fn given_a_guest_that_outlived_its_lease_then_it_is_ended_whatever_is_wanted_and_whatever_its_hypervisor_says()
 {
    let now = Timestamp(1_000_000_000);
    let mut observed = Observed::nothing();
    let Wanted::Vm(vm) = desired(5, Power::Running) else {
        panic!("a VM is wanted")
    };
    observed.launched(&vm, runs(&vm), now);
    observed.is(Health::Unleased);
    observed.is(Health::Sound);
    let wishes =
        [Power::Running, Power::Stopped(StopHow::Graceful(timeout()))].map(|power| desired(5, power));
    for wanted in wishes
        .into_iter()
        .chain([Wanted::Unheard, Wanted::NotOurs(Seq(9))])
    {
        let kill = Step::Kill(ExitReason::LeaseEnded);
        assert_eq!(next(&wanted, &observed, now), kill, "{wanted:?}");
    }
    // when that fails, then it is tried again.
    observed.pace.failed(now, 0.5);
    let Step::Wait(Some(again)) = next(&desired(5, Power::Running), &observed, now) else {
        panic!("not tried again")
    };
    let kill = Step::Kill(ExitReason::LeaseEnded);
    assert_eq!(next(&desired(5, Power::Running), &observed, again), kill);
}

#[test]
fn given_the_first_wish_for_a_vm_then_it_is_launched_at_once() {
    let mut observed = Observed::nothing();
    let wanted = desired(5, Power::Running);
    observed.told_applied(wanted.changed());
    assert_eq!(next(&wanted, &observed, Timestamp(7)), Step::Launch);
}
