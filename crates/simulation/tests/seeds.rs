//! Seeds that must pass, and rules whose absence must be noticed.

use chv_simulation::{Bug, run};

/// How many seeds may pass before a rule's absence is noticed.
const NOTICED_WITHIN: u64 = 200;

fn pass(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        if let Some(violation) = run(seed, None, false).violation {
            let trace = run(seed, None, true).trace.join("\n");
            panic!("{trace}\nseed {seed}: {violation}");
        }
    }
}

// In parts, so that they run beside each other.

#[test]
fn seeds_1_to_25_pass() {
    pass(1..26);
}

#[test]
fn seeds_26_to_50_pass() {
    pass(26..51);
}

#[test]
fn seeds_51_to_75_pass() {
    pass(51..76);
}

#[test]
fn seeds_76_to_100_pass() {
    pass(76..101);
}

#[test]
fn seeds_101_to_125_pass() {
    pass(101..126);
}

#[test]
fn seeds_126_to_150_pass() {
    pass(126..151);
}

#[test]
fn seeds_151_to_175_pass() {
    pass(151..176);
}

#[test]
fn seeds_176_to_200_pass() {
    pass(176..201);
}

#[test]
fn a_seed_replays_exactly() {
    for seed in [3, 14] {
        // given a run,
        let first = run(seed, Some(Bug::Fencing), true);
        // when its seed is run again, then everything happens again.
        assert_eq!(run(seed, Some(Bug::Fencing), true), first);
        assert!(!first.trace.is_empty());
    }
}

/// Where a rule is off, some seed shows it.
fn noticed(bug: Bug) {
    let found = (1..=NOTICED_WITHIN).find(|seed| run(*seed, Some(bug), false).violation.is_some());
    assert!(found.is_some(), "without {bug}, {NOTICED_WITHIN} seeds pass");
}

#[test]
fn no_fencing_is_noticed() {
    noticed(Bug::Fencing);
}

#[test]
fn no_dedupe_is_noticed() {
    noticed(Bug::Dedupe);
}

#[test]
fn no_flush_is_noticed() {
    noticed(Bug::Flush);
}

#[test]
fn showing_what_the_leader_has_not_flushed_is_noticed() {
    noticed(Bug::Gate);
}

#[test]
fn answering_without_making_sure_of_leadership_is_noticed() {
    noticed(Bug::Confirm);
}

#[test]
fn counting_as_published_what_was_only_handed_over_is_noticed() {
    noticed(Bug::Mark);
}

#[test]
fn a_lost_mark_that_is_not_sent_again_is_noticed() {
    noticed(Bug::LostMark);
}

#[test]
fn counting_as_handed_over_what_the_client_had_no_room_for_is_noticed() {
    noticed(Bug::Room);
}

#[test]
fn not_waiting_for_the_leases_of_earlier_leaders_is_noticed() {
    noticed(Bug::Lease);
}

#[test]
fn having_nobody_end_guests_when_the_daemon_is_away_is_noticed() {
    noticed(Bug::Guard);
}
