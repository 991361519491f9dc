//! The figures as text for people.

use std::fmt::Write;

use crate::goals::{Bound, Goal};
use crate::plan::Kind;
use crate::results::{Point, Results, Summary};

/// All of a run's tables.
pub(crate) fn render(results: &Results) -> String {
    let mut text = String::new();
    let Results {
        machine,
        rounds,
        seconds_a_point,
        payload_bytes,
        ..
    } = results;
    line(
        &mut text,
        &format!(
            "\n{machine}; three servers each, on one disk; {payload_bytes}-byte messages; median of {rounds} rounds of {seconds_a_point} s\n"
        ),
    );
    for kind in Kind::ALL.into_iter().chain(others(results)) {
        points(&mut text, &results.systems, kind);
    }
    costs(&mut text, &results.systems);
    for summary in &results.systems {
        arrival(&mut text, summary);
        stages(&mut text, summary);
    }
    goals(&mut text, &results.goals);
    text
}

fn line(text: &mut String, words: &str) {
    text.push_str(words);
    text.push('\n');
}

/// Points that are no part of a whole run.
fn others(results: &Results) -> Vec<Kind> {
    let points = results.systems.iter().flat_map(|summary| &summary.points);
    let mut kinds: Vec<Kind> = points.map(|point| point.kind).collect();
    kinds.retain(|kind| !Kind::ALL.contains(kind));
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

fn points(text: &mut String, systems: &[Summary], kind: Kind) {
    let of = |summary: &Summary| summary.point(kind);
    if systems.iter().all(|summary| of(summary).is_none()) {
        return;
    }
    let title = match kind {
        Kind::Single { outstanding } => format!("{outstanding} outstanding"),
        Kind::Sixteen { outstanding } => format!("16 to a message, {outstanding} outstanding"),
    };
    line(
        text,
        &format!(
            "{title:34} {:>10} {:>9} {:>9} {:>10}  flushed before the answer",
            "commands/s", "p50 ms", "p99 ms", "CPU us"
        ),
    );
    for summary in systems {
        let Some(Point {
            per_second,
            latency,
            cpu_us,
            busy,
            ..
        }) = of(summary)
        else {
            continue;
        };
        let busy = match busy {
            0 => String::new(),
            busy => format!("; {busy} times busy"),
        };
        line(
            text,
            &format!(
                "  {:32} {per_second:>10.0} {:>9.3} {:>9.3} {cpu_us:>10.1}  {}{busy}",
                summary.system,
                latency.p50_us / 1e3,
                latency.p99_us / 1e3,
                summary.flushed_before_the_answer
            ),
        );
    }
    text.push('\n');
}

fn costs(text: &mut String, systems: &[Summary]) {
    line(
        text,
        &format!(
            "{:34} {:>10} {:>20} {:>26}",
            "what it takes, one server", "events", "disk bytes/event", "memory MiB/million events"
        ),
    );
    for summary in systems {
        let Some(cost) = summary.cost else { continue };
        line(
            text,
            &format!(
                "  {:32} {:>10} {:>20.0} {:>26.0}",
                summary.system,
                cost.events,
                cost.disk_bytes_an_event,
                cost.memory_bytes_an_event * 1e6 / f64::from(1 << 20)
            ),
        );
    }
    text.push('\n');
}

fn arrival(text: &mut String, summary: &Summary) {
    let Some(arrival) = summary.arrival else { return };
    line(
        text,
        "at 1,000 commands a second, when an event is at a subscriber",
    );
    for (what, times) in [
        ("after the sender has its answer", arrival.after_answer),
        ("after it was decided, commit included", arrival.after_decision),
    ] {
        let (p50, p99) = (times.p50_us / 1e3, times.p99_us / 1e3);
        line(text, &format!("  {what:42} p50 {p50:.3} ms, p99 {p99:.3} ms"));
    }
    text.push('\n');
}

fn stages(text: &mut String, summary: &Summary) {
    if summary.stages.is_empty() {
        return;
    }
    line(text, "where a commit's time goes");
    for stage in &summary.stages {
        let (p50, p99) = (stage.took.p50_us / 1e3, stage.took.p99_us / 1e3);
        line(
            text,
            &format!("  {:12} p50 {p50:.3} ms, p99 {p99:.3} ms", stage.name),
        );
    }
    text.push('\n');
}

fn goals(text: &mut String, goals: &[Goal]) {
    for goal in goals {
        let against = goal
            .against
            .map(|system| format!(" against {system}"))
            .unwrap_or_default();
        let wanted = match goal.wanted {
            Bound::AtMost(most) => format!("at most {most}"),
            Bound::AtLeast(least) => format!("at least {least}"),
        };
        let met = if goal.met { "met" } else { "NOT met" };
        let what = format!("{}{against}", goal.what);
        let _ = writeln!(text, "{met:8} {:>6.2} ({wanted})  {what}", goal.found);
    }
    text.push('\n');
}
