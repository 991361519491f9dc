//! The table of states: that the rules follow it, whatever led there, and that the page which is drawn from it is its
//! picture. `BLESS=1 cargo nextest run -p chv-domain states` draws the page anew.

use std::fmt::Write as _;

use chv_domain::life::{Level, Measured, Order, Rule, State, measured, ordered};
use chv_domain::*;
use proptest::prelude::*;

use crate::history::*;

fn delete(vm: VmRef, force: bool, kept: bool) -> Command {
    let keep = kept.then(|| KeepFor::from_seconds(86_400).unwrap());
    Command::DeleteVm { vm, force, keep }
}

fn command(order: Order) -> Command {
    of(named("web"), order)
}

fn of(vm: VmRef, order: Order) -> Command {
    match order {
        Order::Start => Command::StartVm { vm },
        Order::Pause => Command::PauseVm { vm },
        Order::Resume => Command::ResumeVm { vm },
        Order::Reboot => Command::RebootVm { vm, timeout: None },
        Order::Reset => Command::ResetVm { vm },
        Order::Stop => Command::StopVm { vm, timeout: None },
        Order::Kill => Command::KillVm { vm },
        Order::Delete => delete(vm, false, true),
        Order::ForceDelete => delete(vm, true, true),
        Order::DeleteNow => delete(vm, false, false),
        Order::ForceDeleteNow => delete(vm, true, false),
        Order::Undelete => Command::UndeleteVm { vm, name: None },
    }
}

/// As the host of `vm` would say it.
fn observation(measured: Measured, vm: &Vm, pid: u32) -> Observation {
    match measured {
        Measured::Started => started(pid),
        Measured::Paused => Observation::Paused,
        Measured::Resumed => Observation::Resumed,
        Measured::Rebooted => Observation::Rebooted {
            order: match vm.power {
                Power::Rebooting(reboot) => Some(reboot.order),
                _ => None,
            },
        },
        Measured::Exited => Observation::Exited(ExitReason::Vanished, String::new(), Run::default()),
        Measured::Ended => {
            let run = Run {
                order: vm.order(),
                ..Run::default()
            };
            Observation::Exited(ExitReason::PoweredOffItself, String::new(), run)
        }
        Measured::Removed => Observation::Removed,
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Order(Order),
    Measure(Measured),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        1 => prop::sample::select(Order::ALL.to_vec()).prop_map(Step::Order),
        2 => prop::sample::select(Measured::ALL.to_vec()).prop_map(Step::Measure),
    ];
    prop::collection::vec(step, 0..40)
}

/// The VM, also where it has no name any more.
fn web(cluster: &Cluster) -> Option<Vm> {
    let host = cluster.state.hosts_by_name().next()?;
    let vm = host.vms.iter().next()?;
    cluster.state.vm(*vm).map(|vm| Vm::clone(vm))
}

/// What the table says of an order is what is decided, and where it leads.
fn order(cluster: &mut Cluster, order: Order) {
    let before = web(cluster).unwrap();
    let answer = cluster.send("alice", of(VmRef::Id(before.id), order));
    let after = web(cluster).unwrap();
    match (ordered(before.state(), order), answer) {
        (Rule::Leads(level), Ok(_)) => {
            assert_eq!(after.level(), level, "{order} when {}", before.state())
        }
        (Rule::Already, Ok(Decided::Unchanged { .. })) => assert_eq!(before, after),
        (Rule::Refused(instead), Err(refused)) => {
            assert_eq!(refused.code, RejectionCode::State);
            assert!(refused.message.contains(instead), "{refused}");
            assert_eq!(before, after);
        }
        (rule, answer) => panic!("{order} when {}: {rule:?}, and {answer:?}", before.state()),
    }
}

/// Where a measurement leads, too; one that can't be is no news.
fn measure(cluster: &mut Cluster, what: Measured, pid: u32) {
    let before = web(cluster).unwrap();
    // A policy has no say where a boot was ordered.
    let what = match (what, before.power) {
        (Measured::Ended, Power::Rebooting(_)) => Measured::Exited,
        _ => what,
    };
    let answer = cluster.report(before.id, observation(what, &before, pid));
    let after = web(cluster).map(|vm| vm.state());
    match (measured(before.state(), what), what) {
        (Some(state), _) => assert_eq!(after, Some(state), "{what} when {}", before.state()),
        (None, Measured::Removed) if before.state() == State::Deleting => assert_eq!(after, None),
        (None, Measured::Removed) => assert_eq!(refused(answer).0, RejectionCode::State),
        // One of these says nothing of whether it runs.
        (None, _) => {
            assert!(
                matches!(answer, Ok(Decided::Unchanged { .. })),
                "{what} when {}: {answer:?}",
                before.state()
            );
            assert_eq!(after, Some(before.state()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_ordered_and_measured_the_table_of_states_says_what_comes_of_it(steps in steps()) {
        // Given a VM.
        let mut cluster = Cluster::with_hosts(1);
        cluster.send("alice", create("web", spec(1, 128))).unwrap();
        for (step, pid) in steps.into_iter().zip(100..) {
            // When something is ordered or measured, then what the table says comes of it.
            match step {
                Step::Order(what) => order(&mut cluster, what),
                Step::Measure(what) => measure(&mut cluster, what, pid),
            }
            if web(&cluster).is_none() {
                break;
            }
        }
    }
}

#[test]
fn a_start_that_did_not_know_of_the_order_to_reboot_does_not_carry_it_out() {
    let mut cluster = Cluster::with_hosts(1);
    let vm = cluster.running("web");
    let before = web(&cluster).unwrap();
    cluster.send("alice", command(Order::Reboot)).unwrap();
    // When a start is told that was made before the order, then it is still to be carried out.
    let host = "host/h1";
    let late = Command::ReportVm {
        vm,
        epoch: before.placement.unwrap().epoch,
        observation: started(7),
    };
    let mut late = cluster.submission(host, late);
    late.follows = Some(before.revision());
    cluster.submit(&late).unwrap();
    assert_eq!(web(&cluster).unwrap().state(), State::Rebooting);
    // And an older order's being carried out says nothing of it either.
    let older = Observation::Rebooted { order: Some(Seq(1)) };
    assert_eq!(kinds(&cluster.report(vm, older).unwrap()), [""; 0]);
    cluster.report(vm, started(8)).unwrap();
    assert_eq!(web(&cluster).unwrap().state(), State::Running);
}

#[test]
fn a_reset_overtakes_a_reboot_and_is_not_ordered_twice() {
    let mut cluster = Cluster::with_hosts(1);
    cluster.running("web");
    cluster.send("alice", command(Order::Reboot)).unwrap();
    let reset = cluster.send("alice", command(Order::Reset)).unwrap();
    assert_eq!(kinds(&reset), ["reboot-requested"]);
    let again = cluster.send("alice", command(Order::Reset)).unwrap();
    assert!(matches!(again, Decided::Unchanged { .. }));
}

/// The page.
fn page() -> String {
    let mut page = String::from(
        "# States of a VM\n\n\
         Drawn from the table in `crates/domain/src/life`, by which orders are decided; don't edit it by hand:\n\
         `BLESS=1 cargo nextest run -p chv-domain states` draws it anew.\n\n\
         `chv vm list` shows two more words: `ready` for a VM that runs and whose guest said that it is ready, and\n\
         `blocked` for one in any state whose host says what keeps it from getting on; the host goes on trying.\n\n\
         | state | what it means |\n|---|---|\n",
    );
    for state in State::ALL {
        writeln!(page, "| `{state}` | {} |", state.meaning()).unwrap();
    }
    page += "\n## What can be ordered\n\n\
             A cell says what the VM should be from then on; `-` where it should be so already; or that the order is\n\
             refused, with code `state`, and what to do instead.\n\n| order |";
    for state in State::ALL {
        write!(page, " {state} |").unwrap();
    }
    page += "\n|---|";
    page += &"---|".repeat(State::ALL.len());
    for order in Order::ALL {
        write!(page, "\n| `{order}` |").unwrap();
        for state in State::ALL {
            match ordered(state, order) {
                Rule::Leads(level) => write!(page, " {} |", word(level)),
                Rule::Already => write!(page, " - |"),
                Rule::Refused(instead) => write!(page, " refused: {instead} |"),
            }
            .unwrap();
        }
    }
    page += "\n\nA kill of what is being killed, and a reset of what is being reset, change nothing.\n\n\
             ## What is measured\n\nWhere what its host measures leads:\n\n```mermaid\nstateDiagram-v2\n";
    writeln!(page, "    [*] --> {}: create", State::Starting).unwrap();
    writeln!(page, "    [*] --> {}: create without start", State::Stopped).unwrap();
    for state in State::ALL {
        for what in Measured::ALL {
            match measured(state, what) {
                Some(next) if next != state => writeln!(page, "    {state} --> {next}: {what}").unwrap(),
                None if (what, state) == (Measured::Removed, State::Deleting) => {
                    writeln!(page, "    {state} --> [*]: {what}").unwrap();
                }
                Some(_) | None => {}
            }
        }
    }
    page += "```\n";
    page
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Running => "running",
        Level::Rebooting => "booted anew",
        Level::Paused => "paused",
        Level::Stopped => "stopped",
        Level::Binned => "deleted for a time",
        Level::Deleted => "removed",
    }
}

#[test]
fn the_page_of_states_is_what_is_drawn_from_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/states.md");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, page()).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == page(),
        "docs/reference/states.md is not what the table says; see this file's head"
    );
}
