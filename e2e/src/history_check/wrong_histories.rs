//! The checker finds nothing wrong with a right history, and finds each wrong one. A checker that passes everything
//! would prove nothing.

use std::time::Duration;

use chv_domain::{CommandId, Seq, VmId};

use super::history::{Changed, Fact, History, Look, Sent, Told, View};
use super::{Wrong, check};

/// What is done to the right history, and what that is.
type Spoilt = (&'static str, fn(&mut History));

fn id(number: u8) -> CommandId {
    CommandId::from_bytes([number; 16])
}

fn vm() -> VmId {
    VmId::created_by(id(1))
}

fn wish(seq: u64, command: u8) -> Fact {
    Fact {
        seq: Seq(seq),
        command: id(command),
        changed: Changed::Wish(vm()),
    }
}

fn done(seq: u64) -> Told {
    Told::Done {
        first: Seq(seq),
        last: Seq(seq),
    }
}

/// A command that was under way from `at` to `until`, in seconds.
fn sent(command: u8, expected: u64, (at, until): (u64, u64), told: Told) -> Sent {
    Sent {
        command: id(command),
        vm: vm(),
        expected: Seq(expected),
        at: Duration::from_secs(at),
        until: Duration::from_secs(until),
        told,
    }
}

fn look(view: View, (at, until): (u64, u64), applied: u64, revision: u64) -> Look {
    Look {
        client: 0,
        vm: vm(),
        view,
        at: Duration::from_secs(at),
        until: Duration::from_secs(until),
        applied: Seq(applied),
        revision: Seq(revision),
    }
}

/// Created at 1, placed at 2, changed at 3, 4 and 5; somebody else's change was refused, one was unchanged, and one
/// was never answered but done.
fn right() -> History {
    let placed = Fact {
        seq: Seq(2),
        command: id(1),
        changed: Changed::Other,
    };
    History {
        trail: vec![wish(1, 1), placed, wish(3, 3), wish(4, 4), wish(5, 5)],
        sent: vec![
            sent(3, 1, (10, 20), done(3)),
            sent(4, 3, (30, 40), done(4)),
            sent(6, 1, (31, 41), Told::Conflict),
            sent(5, 4, (50, 60), Told::Nothing),
            sent(7, 5, (65, 66), Told::Unchanged),
            sent(3, 1, (70, 80), done(3)),
        ],
        looks: vec![
            look(View::Leader, (5, 6), 2, 1),
            look(View::Leader, (21, 22), 3, 3),
            look(View::Any(Seq(3)), (35, 36), 4, 3),
            look(View::Leader, (61, 62), 5, 5),
        ],
        streams: vec![
            vec![(Seq(1), id(1)), (Seq(2), id(1)), (Seq(3), id(3))],
            Vec::new(),
        ],
    }
}

#[test]
fn a_right_history_is_right() {
    assert_eq!(check(&right()), Ok(()));
}

/// The right history, but for one thing.
fn but(change: impl FnOnce(&mut History)) -> Result<(), Wrong> {
    let mut history = right();
    change(&mut history);
    check(&history)
}

#[test]
fn a_trail_with_a_hole_or_with_a_command_twice_is_wrong() {
    let hole = but(|history| {
        history.trail.remove(1);
    });
    assert!(matches!(hole, Err(Wrong::Trail(_))), "{hole:?}");
    let twice = but(|history| history.trail.push(wish(6, 3)));
    assert!(matches!(twice, Err(Wrong::Trail(_))), "{twice:?}");
}

#[test]
fn answers_that_are_not_true_are_wrong() {
    let wrongs: [Spoilt; 11] = [
        ("acknowledged and lost", |history| history.trail.truncate(3)),
        ("under another number", |history| history.sent[1].told = done(3)),
        ("refused and done", |history| {
            history.sent[1].told = Told::Conflict
        }),
        ("unchanged and done", |history| {
            history.sent[1].told = Told::Unchanged
        }),
        ("done on another revision", |history| {
            history.sent[1].expected = Seq(1)
        }),
        ("unanswered, done on another revision", |history| {
            history.sent[3].expected = Seq(3)
        }),
        ("a conflict with what was so all the time", |history| {
            history.sent[2] = sent(6, 3, (23, 24), Told::Conflict);
        }),
        ("unchanged with a revision of the past", |history| {
            history.sent[4].expected = Seq(3)
        }),
        ("before what was acknowledged before it", |history| {
            history.sent[1].at = Duration::from_secs(1);
            history.sent[1].until = Duration::from_secs(2);
        }),
        ("another answer when sent again", |history| {
            history.sent[5].told = done(4)
        }),
        ("never sent", |history| {
            history.sent.remove(3);
        }),
    ];
    for (what, change) in wrongs {
        let found = but(change);
        assert!(matches!(found, Err(Wrong::Command(_))), "{what}: {found:?}");
    }
}

#[test]
fn reads_of_what_was_so_before_or_never_are_wrong() {
    let wrongs: [Spoilt; 6] = [
        ("the leader has not seen what was acknowledged", |history| {
            history.looks[1].applied = Seq(2)
        }),
        ("the leader tells what was so before", |history| {
            history.looks[1].revision = Seq(1)
        }),
        ("a replica has not what it was asked for", |history| {
            history.looks[2].applied = Seq(2)
        }),
        ("the session goes back", |history| {
            history.looks[2].view = View::Any(Seq(1));
            history.looks[2].revision = Seq(1);
        }),
        ("never so", |history| history.looks[3].revision = Seq(2)),
        ("not yet so", |history| history.looks[1].revision = Seq(5)),
    ];
    for (what, change) in wrongs {
        let found = but(change);
        assert!(matches!(found, Err(Wrong::Read(_))), "{what}: {found:?}");
    }
    // What another client has read from the leader, later reads from it see too, acknowledged or not.
    let behind = but(|history| {
        let stale = look(View::Leader, (63, 64), 5, 4);
        history.looks.push(Look { client: 1, ..stale });
    });
    assert!(matches!(behind, Err(Wrong::Read(_))), "{behind:?}");
}

#[test]
fn streams_with_a_hole_a_double_another_order_or_something_else_are_wrong() {
    let wrongs: [Spoilt; 5] = [
        ("a hole", |history| {
            history.streams[0].remove(1);
        }),
        ("a double", |history| {
            let again = history.streams[0][1];
            history.streams[0].insert(1, again);
        }),
        ("another order", |history| history.streams[0].swap(0, 1)),
        ("of another command", |history| history.streams[0][2].1 = id(9)),
        ("more than there is", |history| {
            history.streams[1] = (1..=6).map(|seq| (Seq(seq), id(5))).collect();
        }),
    ];
    for (what, change) in wrongs {
        let found = but(change);
        assert!(matches!(found, Err(Wrong::Stream(_))), "{what}: {found:?}");
    }
}
