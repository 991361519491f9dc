//! Runs seeds of the simulation, and shows the trace of one that fails.

use std::process::ExitCode;

use chv_simulation::{Bug, Count, run};
use clap::Parser;

/// Runs the scheduler's rules over seeded schedules of faults.
#[derive(Parser)]
#[command(name = "chv-simulate", version)]
struct Cli {
    /// How many seeds to run.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Leave a rule out: says in how many of the seeds that is noticed.
    #[arg(long)]
    bug: Option<Bug>,
    /// How many lines of a failing seed's trace to print.
    #[arg(long, default_value_t = 60)]
    lines: usize,
    /// Print the trace also of seeds that pass.
    #[arg(long)]
    trace: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let (mut failed, mut first, mut sum) = (0, None, Count::default());
    for seed in cli.from..cli.from + cli.seeds {
        let done = run(seed, cli.bug, cli.trace);
        sum = add(sum, done.count);
        if cli.trace {
            done.trace.iter().for_each(|line| println!("{line}"));
        }
        let Some(violation) = done.violation else { continue };
        failed += 1;
        first.get_or_insert(seed);
        println!("seed {seed}: {violation}");
        if cli.bug.is_none() {
            let again = run(seed, cli.bug, true);
            let from = again.trace.len().saturating_sub(cli.lines);
            again.trace[from..].iter().for_each(|line| println!("    {line}"));
        }
    }
    println!("{} seeds from {}, {failed} failed: {sum:?}", cli.seeds, cli.from);
    match (cli.bug, first) {
        (Some(bug), Some(first)) => {
            println!(
                "without {bug}: noticed in {failed} of {} seeds, first in {first}",
                cli.seeds
            );
            ExitCode::SUCCESS
        }
        (None, None) => ExitCode::SUCCESS,
        (Some(_), None) | (None, Some(_)) => ExitCode::FAILURE,
    }
}

fn add(sum: Count, one: Count) -> Count {
    Count {
        records: sum.records + one.records,
        dropped: sum.dropped + one.dropped,
        answers: sum.answers + one.answers,
        repeats: sum.repeats + one.repeats,
        reads: sum.reads + one.reads,
        decided_anew: sum.decided_anew + one.decided_anew,
        starts: sum.starts + one.starts,
        failovers: sum.failovers + one.failovers,
        faults: sum.faults + one.faults,
    }
}
